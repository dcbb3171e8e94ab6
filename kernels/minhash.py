"""Signatures of documents, straight from their UTF-8 bytes: by what they are found, and by what they are compared.

A document is the set of its shingles: every run of `shingle_words` words, and one shingle of all its words if it has
fewer. A shingle is a polynomial of its word hashes (Karp and Rabin, 1987), rolled from one to the next and mixed to
32 bits h. Of a text of a few words there is a hash of all that is no word in it as well: two such texts are alike only
with the same *symbols* ("C++ for beginners", "C# for beginners").

*Found* by MinHash (Broder, 1997): permutation k maps h to a_k * h + b_k mod 2^32, a_k odd, and keeps the minimum over
all shingles, which two documents of Jaccard similarity J share with probability J. A *band* is r permutations, its
*tag* a hash of their minima in 32 bits: the same with probability J^r. Permutations and mixing are those of
datasketch's scheme "affine32": for equal shingle hashes the minima are equal. K permutations make K / r bands of
neighbours, and then as many of every (K / r)th: each minimum is in one band of either kind, with other companions, so
the second kind says nearly as much as the first and costs a hash only.

*Compared* by a sketch of the same shingles, `kernels.sketch`.

Cost for 3.7 KB (600 words): words 2.7 us, shingles 0.8 us, minima 1.7 us for 64 permutations, which stay in vector
registers while the shingles stream by; sketch 1 us.
"""

from __future__ import annotations

import functools

import numpy as np
from llvmlite import ir
from numba import njit, types, uint32, uint64
from numba.extending import intrinsic
from numpy.typing import NDArray

from kernels.characters import character_bytes, code_point
from kernels.columns import Texts
from kernels.kept import kept
from kernels.simd import I32, I64, PADDING_BYTES, element_pointer, mix_multiply, splat
from kernels.sketch import BINS_A_BYTE, fill_sketch
from kernels.words import (
    COMPOSES,
    NOTHING,
    NUM_CODE_POINTS,
    SPACE,
    STARTS,
    code_point_table,
    is_word_byte,
    normal_form,
    scratch_for,
    word_hashes,
)

# Permutations that one pass over the shingles serves: four vectors of 16.
PASS = 64
LANES_16 = ir.VectorType(I32, 16)

# Odd, so that powers of it stay odd: multiplying by them loses nothing.
BASE = np.uint64(0x9E3779B97F4A7C15)
SYMBOL_STEP = np.uint64(0xC4CEB9FE1A85EC53)
ALL_BUT_MELTING = ~(STARTS | COMPOSES) & 0xFFFFFFFFFFFFFFFF
# Variants of one character; the tags of flags are symbols.
IDEOGRAPHIC_SELECTORS, END_OF_SELECTORS = 0xE0100, 0xE01F0
SEED = 1

# Texts of up to FEW_WORDS are alike only with the same symbols. Longer ones that may still resemble one have the hash
# too: fewer than 6 of 10 words' shingles are those of a text with MANY_WORDS.
FEW_WORDS = 10
MANY_WORDS = 16


@functools.cache
@kept
def permutations(num_permutations: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """datasketch's own parameters for its default seed: (multipliers_K, offsets_K)."""
    from datasketch import MinHash

    multipliers_K, offsets_K = MinHash(num_perm=num_permutations, seed=SEED, scheme="affine32").permutations
    return np.ascontiguousarray(multipliers_K), np.ascontiguousarray(offsets_K)


def count_permutations(num_bands: int, band_rows: int) -> int:
    """Those of the bands, in whole passes."""
    return -(-num_bands * band_rows // PASS) * PASS


def count_tags(num_bands: int, band_rows: int) -> int:
    """Two for every whole band that the permutations hold: `num_bands` and spare ones."""
    return 2 * (count_permutations(num_bands, band_rows) // band_rows)


def sign(
    texts: Texts,
    *,
    num_bands: int,
    band_rows: int,
    sketch_bins: int,
    shingle_words: int = 5,
) -> tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.uint32], NDArray[np.bool_]]:
    """Of texts: (sketches_BQ, tags_BT, symbols_B, has_words_B).

    Q is a quarter of `sketch_bins`, T the number of tags, those of spare bands included (`count_tags`). Symbols are 0
    for a text of many words, odd for one of few. `buffer_N` carries 64 bytes of padding. What a document without a word
    has is of no meaning. Pure and without the interpreter lock: threads may sign slices of one buffer at the same time.
    """
    num_documents = len(texts)
    sketches_BQ = np.empty((num_documents, sketch_bins // BINS_A_BYTE), np.uint8)
    tags_BT = np.empty((num_documents, count_tags(num_bands, band_rows)), np.uint32)
    symbols_B = np.empty(num_documents, np.uint32)
    has_words_B, composes_B = np.zeros(num_documents, np.bool_), np.zeros(num_documents, np.bool_)
    parameters = code_point_table(), *permutations(count_permutations(num_bands, band_rows)), shingle_words, band_rows
    outputs = sketches_BQ, tags_BT, symbols_B, has_words_B, composes_B
    sign_documents(texts.buffer_N, texts.starts_B, texts.ends_B, *parameters, *outputs)
    for row in np.flatnonzero(composes_B).tolist():
        text = texts[row]
        normal = normal_form(text).encode()
        normal_N = np.frombuffer(normal + bytes(PADDING_BYTES), np.uint8)
        bounds = np.zeros(1, np.int64), np.full(1, len(normal), np.int64)
        sign_documents(normal_N, *bounds, *parameters, *(output[row : row + 1] for output in outputs))
    return sketches_BQ, tags_BT, symbols_B, has_words_B


@intrinsic
def minimize_64(typing_context, shingles, num_shingles, multipliers, offsets, signature, first):
    """signature[k] = min over the shingles h of multipliers[k] * h + offsets[k], for k in first..first + 63."""

    def codegen(context, builder, signature_, args):
        array_types = signature_.args

        def lanes_of(arg, vector):
            index = builder.add(args[5], ir.Constant(I64, 16 * vector))
            pointer = element_pointer(context, builder, array_types[arg], args[arg], index)
            return builder.bitcast(pointer, LANES_16.as_pointer())

        def load_lanes(arg, vector):
            lanes = builder.load(lanes_of(arg, vector))
            lanes.align = 4
            return lanes

        vectors = range(4)
        a = [load_lanes(2, vector) for vector in vectors]
        b = [load_lanes(3, vector) for vector in vectors]
        largest = ir.Constant(LANES_16, [0xFFFFFFFF] * 16)
        before, loop = builder.block, builder.append_basic_block("shingle")
        after = builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed(">", args[1], ir.Constant(I64, 0)), loop, after)

        builder.position_at_end(loop)
        index = builder.phi(I64)
        minima = [builder.phi(LANES_16) for _ in vectors]
        h = splat(builder, builder.load(element_pointer(context, builder, array_types[0], args[0], index)), LANES_16)
        lower = []
        for vector in vectors:
            value = builder.add(builder.mul(a[vector], h), b[vector])
            is_less = builder.icmp_unsigned("<", value, minima[vector])
            lower.append(builder.select(is_less, value, minima[vector]))
        following = builder.add(index, ir.Constant(I64, 1))
        index.add_incoming(ir.Constant(I64, 0), before)
        index.add_incoming(following, loop)
        for vector in vectors:
            minima[vector].add_incoming(largest, before)
            minima[vector].add_incoming(lower[vector], loop)
        builder.cbranch(builder.icmp_signed("<", following, args[1]), loop, after)

        builder.position_at_end(after)
        results = [builder.phi(LANES_16) for _ in vectors]
        for vector in vectors:
            results[vector].add_incoming(largest, before)
            results[vector].add_incoming(lower[vector], loop)
        for vector in vectors:
            store = builder.store(results[vector], lanes_of(4, vector))
            store.align = 4
        return context.get_dummy_value()

    returned = types.void(shingles, types.int64, multipliers, offsets, signature, types.int64)
    return returned, codegen


@njit(cache=True, nogil=True, boundscheck=False)
def mix_to_32(h):
    """The finalizer of MurmurHash3 in 64 bits, of which the upper half is taken."""
    h ^= h >> uint64(33)
    h *= uint64(0xFF51AFD7ED558CCD)
    h ^= h >> uint64(33)
    h *= uint64(0xC4CEB9FE1A85EC53)
    return uint32(h >> uint64(32))


@njit(cache=True, nogil=True, boundscheck=False)
def premix(h):
    """datasketch's bijection of a shingle hash before the permutations: the 32-bit finalizer of MurmurHash3."""
    h = uint32((h ^ (h >> uint32(16))) * uint32(0x85EBCA6B))
    h = uint32((h ^ (h >> uint32(13))) * uint32(0xC2B2AE35))
    return uint32(h ^ (h >> uint32(16)))


@njit(cache=True, nogil=True, boundscheck=False)
def shingle_hashes(hashes, num_words, shingle_words, shingles):
    """32-bit hashes of the shingles of `num_words` words, repetitions included; the number of shingles."""
    if num_words == 0:
        return 0
    width = min(num_words, shingle_words)
    h, leaving = uint64(0), uint64(1)
    for word in range(width):
        h = h * BASE + hashes[word]
        leaving *= BASE
    shingles[0] = mix_to_32(h)
    for word in range(width, num_words):
        h = h * BASE + hashes[word] - leaving * hashes[word - width]
        shingles[word - width + 1] = mix_to_32(h)
    return num_words - width + 1


@njit(cache=True, nogil=True, boundscheck=False)
def symbol_hash(buffer_N, start, end, table):
    """Hash of all characters of a UTF-8 text that are neither of a word nor white space, and of where they stand.

    The place of a symbol is the number of runs of word characters since the one before it. Words after the last symbol
    do not count.
    """
    h, num_runs, in_run, i = uint64(0), uint64(0), False, start
    while i < end:
        code = int(code_point(buffer_N, i))
        i += character_bytes(buffer_N[i])
        if code < 0x80:
            of_word = is_word_byte(code) or 65 <= code <= 90
        elif code < NUM_CODE_POINTS:
            if table[code] == uint64(NOTHING):
                continue
            of_word = table[code] & uint64(ALL_BUT_MELTING) != uint64(SPACE)  # ≤ may melt with marks, but is a symbol
        elif IDEOGRAPHIC_SELECTORS <= code < END_OF_SELECTORS:
            continue
        else:
            of_word = False
        if of_word:
            num_runs += uint64(not in_run)
        elif not is_white_space(code):
            h = mix_multiply(h ^ uint64(code) ^ (num_runs << uint64(32)) ^ BASE, SYMBOL_STEP)
            num_runs = uint64(0)
        in_run = of_word
    return h


@njit(cache=True, nogil=True, boundscheck=False)
def is_white_space(code):
    """Whether `str.isspace` holds of a code point."""
    if code < 0x80:
        return code == 32 or (code >= 9 and code <= 13) or (code >= 28 and code <= 31)
    if code < 0x2000:
        return code == 0x85 or code == 0xA0 or code == 0x1680
    return code <= 0x200A or code == 0x2028 or code == 0x2029 or code == 0x202F or code == 0x205F or code == 0x3000


@njit(cache=True, nogil=True, boundscheck=False)
def minimize(shingles, num_shingles, multipliers_K, offsets_K, minima_K):
    """The minima of all permutations over `shingles[:num_shingles]`."""
    for first in range(0, len(minima_K), PASS):
        minimize_64(shingles, num_shingles, multipliers_K, offsets_K, minima_K, first)


@njit(cache=True, nogil=True, boundscheck=False)
def fill_tags(minima_K, band_rows, tags_T):
    """Hash each band of minima: first those of neighbours, then those of every (T / 2)th; never 0."""
    half = len(tags_T) // 2
    for band in range(2 * half):
        first, step = (band * band_rows, 1) if band < half else (band - half, half)
        h = uint64(band + 1) * BASE
        for row in range(band_rows):
            h = mix_multiply(h ^ uint64(minima_K[first + row * step]), SYMBOL_STEP)
        tags_T[band] = max(uint32(h ^ (h >> uint64(32))), uint32(1))


@njit(cache=True, nogil=True, boundscheck=False)
def sign_documents(
    buffer_N,
    starts_B,
    ends_B,
    table,
    multipliers_K,
    offsets_K,
    shingle_words,
    band_rows,
    sketches_BQ,
    tags_BT,
    symbols_B,
    has_words_B,
    composes_B,
):
    """Fill the last five; `composes_B`: whether a text holds marks that NFC could compose."""
    lower, bounds, hashes = scratch_for(starts_B, ends_B)
    shingles = np.empty(len(hashes), np.uint32)
    minima_K = np.empty(len(multipliers_K), np.uint32)
    minima_M = np.empty(BINS_A_BYTE * sketches_BQ.shape[1], np.uint32)
    for row in range(len(starts_B)):
        start, end = starts_B[row], ends_B[row]
        num_words, composes_B[row] = word_hashes(buffer_N, start, end, table, lower, bounds, hashes)
        num_shingles = shingle_hashes(hashes, num_words, shingle_words, shingles)
        for i in range(num_shingles):
            shingles[i] = premix(shingles[i])
        symbols_B[row] = 0
        if num_words < MANY_WORDS:
            h = mix_to_32(symbol_hash(buffer_N, start, end, table))
            symbols_B[row] = (h & uint32(0xFFFFFFFE)) | uint32(num_words <= FEW_WORDS)
        minimize(shingles, num_shingles, multipliers_K, offsets_K, minima_K)
        fill_tags(minima_K, band_rows, tags_BT[row])
        fill_sketch(shingles, num_shingles, minima_M, sketches_BQ[row])
        has_words_B[row] = num_words > 0
