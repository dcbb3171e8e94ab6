"""Exact deduplication."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.dedup.exact import ExactDedup, ExactDedupConfig, Keys, normalise_url, text_keys, url_keys
from curation.dedup.hash_index import HashIndex, hash_keys
from kernels.columns import join_texts

SPACES = st.sampled_from(
    " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u200a\u200b\u2028\u2029\u202f\u205f\u3000é"
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | SPACES)


@given(st.lists(TEXTS, min_size=1, max_size=6))
def test_texts_are_equal_exactly_when_python_normalises_them_to_the_same(texts: list[str]) -> None:
    import unicodedata

    expected = [" ".join(unicodedata.normalize("NFC", text).split()).encode() for text in texts]

    assert text_keys(join_texts(texts)).tolist() == hash_keys(expected).tolist()


def test_a_batch_and_its_documents_one_by_one_find_the_same_duplicates() -> None:
    texts = ["one two", "one  two\n", "three", "", " ", "three", "four"]
    whole = ExactDedup(ExactDedupConfig())
    single = ExactDedup(ExactDedupConfig())
    keys_B2 = text_keys(join_texts(texts))
    no_urls_B2 = url_keys(("",) * len(texts))

    together = whole.find_duplicates(np.arange(7), Keys(texts_B2=keys_B2, urls_B2=no_urls_B2)).by_text_B
    apart = [
        single.find_duplicates(np.array([i]), Keys(texts_B2=keys_B2[i : i + 1], urls_B2=no_urls_B2[:1])).by_text_B[0]
        for i in range(7)
    ]

    assert together.tolist() == [-1, 0, -1, -1, 3, 2, -1]
    assert together.tolist() == apart


def test_a_retracted_document_frees_its_text_and_its_address() -> None:
    dedup = ExactDedup(ExactDedupConfig())
    keys = Keys(texts_B2=hash_keys([b"text"]), urls_B2=url_keys(("https://example.org/a",)))
    dedup.find_duplicates(np.array([0]), keys)
    assert dedup.find_duplicates(np.array([1]), keys).by_text_B.tolist() == [0]

    dedup.drop(np.array([0]), keys)

    assert dedup.find_duplicates(np.array([2]), keys).by_text_B.tolist() == [-1]
    assert dedup.find_duplicates(np.array([3]), keys).by_text_B.tolist() == [2]


def test_the_same_page_under_another_spelling_is_a_duplicate_by_address() -> None:
    dedup = ExactDedup(ExactDedupConfig())
    urls = (
        "http://www.example.org/page/",
        "https://EXAMPLE.org/page?utm_source=mail#part",
        "https://example.org/other",
        "",
    )
    keys = Keys(texts_B2=hash_keys([b"1", b"2", b"3", b"4"]), urls_B2=url_keys(urls))

    duplicates = dedup.find_duplicates(np.arange(4), keys)

    assert duplicates.by_url_B.tolist() == [-1, 0, -1, -1]


@pytest.mark.parametrize(
    "url",
    [
        "N/A",
        "None",
        "null",
        "nan",
        "-",
        "#",
        "unknown",
        "localhost",
        "index.html",
        "/a/b",
        "about:blank",
        "mailto:a@example.org",
        "javascript:void(0)",
        "data:,",
        "urn:isbn:1",
        "file:///a/b",
        "http://",
        "https:///",
        "http:///a",
        "http://.",
        "http://?",
        "http://#",
        "http://[bad",
        "http://None",
        "https://N/A",
        "https://null/",
        "http://www.",
        " ",
        "C:\\a",
    ],
)
def test_what_has_no_host_is_no_address(url: str) -> None:
    assert not normalise_url(url)
    assert not url_keys([url, url]).any()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("example.org/a", "http://example.org/a"),
        ("www.example.org:80/a/", "http://example.org/a"),
        ("http://localhost:8000/a", "http://localhost:8000/a"),
        ("http://[::1]:80/a", "http://[::1]/a"),
        ("http://例え.jp/a", "http://例え.jp/a"),
        ("s3://bucket/a", "s3://bucket/a"),
        ("http://host:99999/a", "http://host:99999/a"),
    ],
)
def test_what_has_a_host_is_an_address(url: str, address: str) -> None:
    assert normalise_url(url) == address
    assert normalise_url(address) == address


@given(st.text())
def test_any_address_can_be_normalised_and_stays_as_it_is_then(url: str) -> None:
    once = normalise_url(url)

    assert normalise_url(once) == once


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=300))
def test_the_index_is_a_dictionary(operations: list[tuple[int, bool]]) -> None:
    index, expected = HashIndex(), dict[int, int]()
    for doc_no, (key, drops) in enumerate(operations):
        keys_B2 = hash_keys([str(key).encode()])
        assert index.find(keys_B2)[0] == expected.get(key, -1)
        if drops and key in expected:
            index.drop(keys_B2, np.array([expected.pop(key)]))
        else:
            assert index.find_or_insert(keys_B2, np.array([doc_no]))[0] == expected.setdefault(key, doc_no) or (
                expected[key] == doc_no
            )


def test_an_index_grows_past_its_first_size_without_losing_a_key() -> None:
    index = HashIndex()
    keys_B2 = hash_keys([i.to_bytes(4, "big") for i in range(100_000)])

    index.find_or_insert(keys_B2, np.arange(100_000))

    assert (index.find(keys_B2) == np.arange(100_000)).all()
