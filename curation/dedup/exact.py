"""Exact deduplication: a document whose normalised text, or whose page address, was seen before.

The text key is the 128-bit xxh3 of the NFC text with whitespace collapsed; the address key that of the normalised
URL. The first document with a key keeps it for as long as it is not retracted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from curation.dedup.key_index import KeyIndex
from curation.dedup.retracted import Retracted
from kernels.characters import character_properties, find_composing
from kernels.columns import Texts
from kernels.nfc import nfc
from kernels.text_masks import read_only
from kernels.whitespace import SLACK_BYTES, collapse_whitespace

# Query parameters that say how a reader came to a page, not which page it is.
TRACKING = frozenset(
    ("fbclid", "gclid", "dclid", "msclkid", "mc_cid", "mc_eid", "igshid", "yclid", "_ga", "ref_src", "spm")
)
# A host without a scheme before it, as in `example.org/page`.
_BARE_HOST = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z][A-Za-z0-9-]+(:[0-9]+)?/")
_HAS_NAME = re.compile(r"\w")
# What is written for no address behind a scheme, as in f"https://{None}".
_NO_ADDRESS = frozenset(("n/a", "na", "nan", "none", "null", "undefined", "unknown", "www"))
DEFAULT_PORTS = {"http": 80, "https": 443}


class ExactDedupConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[dedup.exact]"""

    enabled: bool = True
    """Drop a document whose text equals an earlier one, up to whitespace and Unicode normalisation."""
    urls: bool = True
    """Drop a document whose normalised URL was seen before, even if its text is another. Only documents with a URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Keys of B documents: equal keys make them equal. The all-zero address means that there is none."""

    texts_B2: NDArray[np.uint64]
    urls_B2: NDArray[np.uint64]

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Keys:
        """Those of some documents."""
        return Keys(texts_B2=self.texts_B2[rows], urls_B2=self.urls_B2[rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """The earlier document that each equals, or -1; by text first, then by address."""

    by_text_B: NDArray[np.int64]
    by_url_B: NDArray[np.int64]


def normalise_url(url: str) -> str:
    """The same address for the same page: lower-case host without `www.`, no fragment, default port, tracking
    parameters or trailing slash, http for https, parameters sorted. What has no host is no address, and gives "":
    "N/A", "about:blank", "http://", a path. Without a scheme a name with a dot before a slash is a host.

    >>> normalise_url("HTTPS://www.Example.org:443/a/?utm_source=x&b=1#top"), normalise_url("N/A")
    ('http://example.org/a?b=1', '')
    """
    url = url.strip()
    try:
        parts = urlsplit(f"http://{url}" if "://" not in url and _BARE_HOST.match(url) else url)
        host = (parts.hostname or "").strip(".").removeprefix("www.")
    except ValueError:
        return ""
    if not _HAS_NAME.search(host) or url.partition("://")[2].strip("/.").lower() in _NO_ADDRESS:
        return ""
    try:
        port = parts.port
    except ValueError:
        return url
    if ":" in host:
        host = f"[{host}]"
    if port is not None and port != DEFAULT_PORTS.get(parts.scheme):
        host = f"{host}:{port}"
    query = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if name not in TRACKING and not name.startswith("utm_")
    ]
    scheme = "http" if parts.scheme == "https" else parts.scheme
    path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~-._")
    return urlunsplit((scheme, host, path, urlencode(sorted(query)), ""))


def text_keys(texts: Texts) -> NDArray[np.uint64]:
    """keys_B2 of the normalised texts. Pure."""
    collapsed_N = np.empty(int(texts.num_bytes().sum()) + SLACK_BYTES, np.uint8)
    bounds_B1 = np.empty(len(texts) + 1, np.int64)
    collapse_whitespace(texts.buffer_N, texts.starts_B, texts.ends_B, collapsed_N, bounds_B1)
    view = memoryview(collapsed_N.data)
    bounds = bounds_B1.tolist()
    digest = xxhash.xxh3_128_digest
    digests = [digest(view[first:last]) for first, last in pairwise(bounds)]
    composing_B = np.empty(len(texts), np.bool_)
    find_composing(read_only(texts.buffer_N), texts.starts_B, texts.ends_B, character_properties(), composing_B)
    for i in np.flatnonzero(composing_B).tolist():
        text = texts[i]
        normal = nfc(text)
        if normal != text:
            digests[i] = digest(" ".join(normal.split()).encode())
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)


def url_keys(urls: Sequence[str]) -> NDArray[np.uint64]:
    """keys_B2 of the normalised addresses, zero where there is none. Pure."""
    addresses = [normalise_url(url) if url else "" for url in urls]
    digests = [
        xxhash.xxh3_128_digest(address.encode("utf-8", "surrogatepass")) if address else bytes(16)
        for address in addresses
    ]
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)


def fingerprint(texts: Texts, urls: Sequence[str]) -> Keys:
    """The keys by which exact duplicates are found. Pure."""
    return Keys(texts_B2=text_keys(texts), urls_B2=url_keys(urls))


class ExactDedup:
    """The keys of all documents seen, and neither retracted nor forgotten."""

    def __init__(self, config: ExactDedupConfig, retracted: Retracted | None = None, *, forget_after: int = 0) -> None:
        self._config = config
        retracted = retracted or Retracted()
        self.texts = KeyIndex("texts", retracted, forget_after=forget_after)
        self.urls = KeyIndex("urls", retracted, forget_after=forget_after)

    def find_duplicates(self, doc_nos_B: NDArray[np.int64], keys: Keys) -> Duplicates:
        """Which documents are there already; the others take their keys, in order."""
        wanted_B = np.full(len(doc_nos_B), self._config.enabled)
        by_text_B = self.texts.find_or_insert(keys.texts_B2, doc_nos_B, wanted_B)
        has_url_B = keys.urls_B2.any(axis=1) & (by_text_B < 0) & self._config.urls
        by_url_B = self.urls.find_or_insert(keys.urls_B2, doc_nos_B, has_url_B)
        return Duplicates(by_text_B=by_text_B, by_url_B=by_url_B)

    def drop(self, doc_nos_B: NDArray[np.int64], keys: Keys) -> None:
        """Forget retracted documents: their text may come again."""
        self.texts.drop(keys.texts_B2, doc_nos_B)
        has_url_B = keys.urls_B2.any(axis=1)
        self.urls.drop(keys.urls_B2[has_url_B], doc_nos_B[has_url_B])

    def restore(
        self,
        doc_nos_B: NDArray[np.int64],
        keys: Keys,
        took_text_B: NDArray[np.bool_],
        took_url_B: NDArray[np.bool_],
    ) -> None:
        """Put back the keys that documents took and were not retracted with."""
        took_url_B = took_url_B & keys.urls_B2.any(axis=1)
        self.texts.assign(keys.texts_B2[took_text_B], doc_nos_B[took_text_B])
        self.urls.assign(keys.urls_B2[took_url_B], doc_nos_B[took_url_B])

    def num_bytes(self) -> int:
        """Memory of the tables."""
        return self.texts.num_bytes() + self.urls.num_bytes()
