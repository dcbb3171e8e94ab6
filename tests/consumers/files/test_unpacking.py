"""Unpacking: dictionaries of zstd, windows of xz, and what is held while a bomb goes off."""

from __future__ import annotations

import bz2
import lzma
import tracemalloc
from itertools import chain

import pytest
import zstandard

from consumers.files.unpacking import BLOCK_BYTES, compression_of, unpacked
from curatord.errors import Undecodable

MAX_WINDOW_BYTES = 1 << 31
PAGES = [b"WARC/1.1\r\nWARC-Type: response\r\nContent-Length: %d\r\n\r\n" % at * 20 for at in range(500)]


def _unpacked(raw: bytes, max_window_bytes: int = MAX_WINDOW_BYTES) -> list[bytes | Undecodable]:
    blocks = [raw[at : at + 1000] for at in range(0, len(raw), 1000)]
    return list(unpacked(chain(blocks), "", max_window_bytes))


@pytest.mark.parametrize("is_packed", [False, True])
def test_the_dictionary_of_a_web_archive_is_used(is_packed: bool) -> None:
    dictionary = zstandard.train_dictionary(4096, PAGES)
    raw = dictionary.as_bytes()
    stored = zstandard.compress(raw) if is_packed else raw
    compressor = zstandard.ZstdCompressor(dict_data=dictionary)
    packed = b"\x5d\x2a\x4d\x18" + len(stored).to_bytes(4, "little") + stored
    packed += b"".join(map(compressor.compress, PAGES))
    assert b"".join(block for block in _unpacked(packed) if isinstance(block, bytes)) == b"".join(PAGES)
    without = b"\x50" + packed[1:]
    assert isinstance(_unpacked(without)[-1], Undecodable), "the frames do need it"


def test_a_window_of_xz_beyond_the_limit_is_named() -> None:
    raw = bytes(1 << 20)
    packed = lzma.compress(raw, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 64 << 20}])
    assert b"".join(block for block in _unpacked(packed) if isinstance(block, bytes)) == raw
    last = _unpacked(packed, 1 << 20)[-1]
    assert isinstance(last, Undecodable)
    assert last.reason == "window_too_large"
    assert "max_window_bytes" in str(last)


def test_a_text_that_begins_like_bzip2_is_no_bzip2() -> None:
    assert compression_of(b"BZhang wrote this") == ""
    assert compression_of(bz2.compress(b"a")) == compression_of(bz2.compress(b"")) == "bzip2"


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress])
def test_a_bomb_goes_off_in_pieces(pack: object) -> None:
    packed = pack(bytes(200 << 20))  # type: ignore[operator]
    tracemalloc.start()
    total = sum(len(block) for block in unpacked(iter([packed]), "", MAX_WINDOW_BYTES) if isinstance(block, bytes))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 200 << 20
    assert peak < 24 * BLOCK_BYTES
