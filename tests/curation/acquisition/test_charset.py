"""Charsets: every encoding that a browser reads, by mark, header, declaration and detection."""

from __future__ import annotations

import base64
import re

import pytest

from curation.acquisition.charset import decode_page
from tests.corpus import CORPORA, read_zst_jsonl

# The Encoding Standard has none of them, but for ISO-2022-KR, of which it makes nothing.
NOT_OF_THE_WEB = {"IBM855", "Johab", "MacCyrillic", "iso-2022-kr"}

SHORT = "<html><head><meta charset={}></head><body>{}</body></html>"


@pytest.mark.skipif(not CORPORA.is_dir(), reason="needs the development corpora")
def test_every_page_in_an_encoding_of_the_web_is_read() -> None:
    unread = set()
    num = 0
    for page in read_zst_jsonl(CORPORA / "hostile" / "encodings.jsonl.zst"):
        if "text" not in page:
            continue  # its encoding has no codec to compare with
        num += 1
        expected = set(re.findall(r"\w+", page["text"]))
        found = set(re.findall(r"\w+", decode_page(base64.b64decode(page["b64"]))))
        if len(expected & found) < 0.97 * len(expected):
            unread.add(page["label"])
    assert num > 200
    assert unread <= NOT_OF_THE_WEB


@pytest.mark.parametrize(
    ("name", "codec", "text"),
    [
        ("x-sjis", "cp932", "①東京"),
        ("GB2312", "gb18030", "朱镕基"),
        ("ks_c_5601-1987", "cp949", "똠방각하"),
        ("iso-8859-1", "cp1252", "“quoted” €"),
        ("windows-1251", "cp1251", "привет"),
        ("euc-jp", "euc_jp", "日本語"),
        ("utf-16", "utf-8", "declared where it cannot be: ü"),
    ],
)
def test_names_of_the_web_mean_the_wider_encoding(name: str, codec: str, text: str) -> None:
    assert text in decode_page(SHORT.format(name, text).encode(codec))
    assert text in decode_page(SHORT.format("", text).encode(codec), f"text/html; charset={name}")


def test_the_mark_counts_before_the_header_and_the_header_before_the_page() -> None:
    assert decode_page("ü".encode("utf-8-sig"), "text/html; charset=koi8-r") == "ü"
    page = SHORT.format("koi8-r", "ü").encode()
    assert "ü" in decode_page(page, "text/html; charset=utf-8")
    assert "ü" not in decode_page(page)


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-16", "utf-32"])
def test_wide_encodings_are_read_with_and_without_a_mark(codec: str) -> None:
    assert decode_page("<!doctype html><p>grün 漢".encode(codec)) == "<!doctype html><p>grün 漢"


@pytest.mark.parametrize("name", ["no-such-charset", "replacement", "base64", "idna", "utf-7\0", "x-user-defined"])
def test_a_name_that_is_no_charset_is_passed_over(name: str) -> None:
    assert "grün" in decode_page(SHORT.format(name, "grün").encode(), f"text/html; charset={name}")


def test_damaged_bytes_become_replacement_characters() -> None:
    assert decode_page(b"<meta charset=utf-8>a\xffb").endswith("a\ufffdb")
