"""Samples: so many bytes of a document, in pieces that lie evenly over all of it.

A document that is in another language at its beginning, or ends in tables and links, is judged by all its parts. Pieces
begin behind white space where there is some within WORD_BYTES, and are whole characters.

Shape legend: B documents, N bytes of text.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.characters import character_start, leaf
from kernels.columns import Texts
from kernels.simd import PADDING_BYTES, load_u64, store_u64
from kernels.text_masks import read_only

PIECES = 8
WORD_BYTES = 24


def take_samples(texts: Texts, sample_bytes: int) -> tuple[Texts, NDArray[np.int64]]:
    """A sample of each document, as a batch of its own, and its middle: pieces with a space between, or all of it."""
    most_bytes = int(np.minimum(texts.num_bytes(), sample_bytes).sum())
    samples_N = np.empty(most_bytes + PADDING_BYTES, np.uint8)
    starts_B, middles_B, ends_B = (np.empty(len(texts), np.int64) for _ in range(3))
    _copy_samples(
        read_only(texts.buffer_N), texts.starts_B, texts.ends_B, sample_bytes, samples_N, starts_B, middles_B, ends_B
    )
    return Texts(samples_N, starts_B, ends_B), middles_B


@leaf
def _copy_samples(buffer_N, starts_B, ends_B, sample_bytes, samples_N, sample_starts_B, middles_B, sample_ends_B):
    """Copy the samples to `samples_N`; `middles_B` parts their pieces into two halves."""
    target = 0
    for b in range(len(starts_B)):
        start, end = starts_B[b], ends_B[b]
        sample_starts_B[b] = middles_B[b] = target
        if end - start <= sample_bytes:
            target = _copy(buffer_N, start, end, samples_N, target)
        else:
            length = sample_bytes // PIECES - 1  # and a space
            for piece in range(PIECES):
                first = start + (end - start - length) * piece // (PIECES - 1)
                last = _piece_end(buffer_N, first + length - 1, end)
                if piece == PIECES // 2:
                    middles_B[b] = target
                if piece > 0:
                    first = _piece_start(buffer_N, first)
                    samples_N[target] = 32
                    target += 1
                target = _copy(buffer_N, first, last, samples_N, target)
        sample_ends_B[b] = target


@leaf
def _copy(buffer_N, start, end, samples_N, target):
    """Append a span, 8 bytes at a time; returns the end of what is there now. Writes up to 7 bytes more."""
    for i in range(0, end - start, 8):
        store_u64(samples_N, target + i, load_u64(buffer_N, start + i))
    return target + end - start


@leaf
def _piece_start(buffer_N, first):
    """The place behind the next white space, or else the next character."""
    for i in range(first, first + WORD_BYTES):
        if buffer_N[i] == 32 or buffer_N[i] == 10:
            return i + 1
    while buffer_N[first] & 0xC0 == 0x80:
        first += 1
    return first


@leaf
def _piece_end(buffer_N, last, end):
    """The place before the last white space, or else before the last character, if that is cut."""
    if last >= end - 1:
        return end
    for i in range(last, last - WORD_BYTES, -1):
        if buffer_N[i] == 32 or buffer_N[i] == 10:
            return i
    return character_start(buffer_N, last)
