"""Lists of addresses: every form of an entry, every form of an address, and files that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from curation.acquisition.url_lists import MAX_PATTERNS, UrlsConfig, host_and_path, open_urls
from curatord.errors import ConfigError


def _blocked(tmp_path: Path, lines: str, urls: list[str], allow: str = "") -> list[bool]:
    (tmp_path / "block").write_text(lines)
    (tmp_path / "allow").write_text(allow)
    lists = open_urls(UrlsConfig(block=(str(tmp_path / "block"),), allow=(str(tmp_path / "allow"),)))
    return [bool(hit) for hit in lists.blocked(urls)]


@pytest.mark.parametrize(
    "entry",
    [
        "bad.example", "BAD.example", "*.bad.example", "http://bad.example", "https://www.bad.example/",
        "bad.example # so", "0.0.0.0 bad.example",
        "127.0.0.1\tbad.example", "\ufeffbad.example", "bad.example.", "bad.example:8080",
    ],
)  # fmt: skip
def test_a_host_is_blocked_with_all_below_it(tmp_path: Path, entry: str) -> None:
    urls = [
        "http://bad.example",
        "HTTPS://WWW.Bad.Example:443/a?b#c",
        "http://a.b.bad.example/x",
        "http://u:p@bad.example/",
        "bad.example",
        "www.bad.example:80/a",
    ]
    others = [
        "http://notbad.example/",
        "http://bad.example.org/",
        "http://example/",
        "http://a/bad.example",
        "",
        "a/bad.example",
    ]
    assert _blocked(tmp_path, f"# a comment\n\n{entry}\n", urls) == [True] * 6
    assert _blocked(tmp_path, f"{entry}\n", others) == [False] * 6


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("2001:db8::1", "http://[2001:db8::1]:80/x"),
        ("[2001:DB8::1]", "http://[2001:0db8:0:0::1]/x"),
        ("http://[2001:db8::1]:8080/", "http://[2001:db8::1]/x"),
        ("192.168.1.7", "http://3232235783/x"),
        ("192.168.1.7", "http://0xC0A80107/"),
        ("bad.example", "//bad.example/q"),
        ("bad.example", "http://bad%2eexample/"),
        ("bad.example", "http:\\\\bad.example\\x"),
        ("bad.example/shop", "http://bad.example//shop"),
        ("bad.example/shop", "http://bad.example/./shop/a"),
        ("bad.example/shop", "http://bad.example/%73hop"),
        ("bad.example//shop", "http://bad.example/shop"),
        ("bücher.example", "http://b%C3%BCcher.example/"),
    ],
)
def test_another_way_to_write_an_address_is_no_way_past_the_list(tmp_path: Path, entry: str, url: str) -> None:
    others = ["http://good.example/", "http://[2001:db8::2]/"]

    assert _blocked(tmp_path, f"{entry}\n", [url, *others]) == [True, False, False]


def test_beginnings_of_addresses_and_patterns(tmp_path: Path) -> None:
    lines = "a.example/shop\nb.example/p?id=\n*.c.example/*/print\n*casino*\n"
    urls = [
        "http://www.a.example/shop/1",
        "http://x.a.example/Shop",
        "https://b.example/p?id=7",
        "http://d.c.example/x/print",
    ]
    others = ["http://a.example/", "http://b.example/p?other", "http://d.c.example/x/print/2", "http://e.example/shop"]
    assert _blocked(tmp_path, lines, [*urls, "http://my-casino.example/"]) == [True] * 5
    assert _blocked(tmp_path, lines, others) == [False] * 4


def test_an_address_that_is_allowed_stays(tmp_path: Path) -> None:
    urls = ["http://bad.example/", "http://good.bad.example/", "http://bad.example/about/us"]
    assert _blocked(tmp_path, "bad.example\n", urls, "good.bad.example\nbad.example/about\n") == [True, False, False]


def test_names_in_other_scripts_are_the_same_in_both_spellings(tmp_path: Path) -> None:
    assert _blocked(tmp_path, "bücher.example\n", ["http://bücher.example/", "http://xn--bcher-kva.example/"]) == [
        True,
        True,
    ]
    assert _blocked(tmp_path, "xn--bcher-kva.example\n", ["http://Bücher.example/"]) == [True]


def test_a_category_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "adult").mkdir()
    (tmp_path / "adult" / "domains").write_text("a.example\n")
    (tmp_path / "adult" / "urls").write_text("b.example/x\n")
    lists = open_urls(UrlsConfig(block=(str(tmp_path / "adult"),)))
    assert lists.blocked(["http://a.example/", "http://b.example/x", "http://b.example/"]).tolist() == [
        True,
        True,
        False,
    ]


def test_lists_are_known_by_their_digest(tmp_path: Path) -> None:
    digests = []
    for number, (block, allow) in enumerate((("a\nb\n", ""), ("b\n#c\na", ""), ("a\n", "b\n"), ("a\nc\n", ""))):
        (tmp_path / f"b{number}").write_text(block)
        (tmp_path / f"a{number}").write_text(allow)
        config = UrlsConfig(block=(str(tmp_path / f"b{number}"),), allow=(str(tmp_path / f"a{number}"),))
        digests.append(open_urls(config).digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert open_urls(UrlsConfig()).digest == ""
    assert not open_urls(UrlsConfig()).blocked(["http://a/"]).any()


def test_lists_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "many").write_text("".join(f"*{at}*x\n" for at in range(MAX_PATTERNS + 1)))
    (tmp_path / "folder").mkdir()
    for name, part in (("none", "No such file"), ("folder", "domains"), ("many", "1,000")):
        with pytest.raises(ConfigError, match=part):
            open_urls(UrlsConfig(block=(str(tmp_path / name),)))
    with pytest.raises(ConfigError, match=r"urls\.allow"):
        open_urls(UrlsConfig(allow=("",)))


@pytest.mark.parametrize(
    "url", ["", "n/a", "://", "http://", "http://[", "mailto:a@b", "http://\ud800/", "\0", "a" * 10_000]
)
def test_what_is_no_address_has_no_host(url: str) -> None:
    host_and_path(url)
    assert open_urls(UrlsConfig()).blocked([url]).tolist() == [False]
