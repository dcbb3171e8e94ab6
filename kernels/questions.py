"""Questions of evaluation sets in documents: sampled n-grams, and from each hit to both sides.

The method is that of AI2's decon ("Sampled Index Match with Progressive Length Extension", Olmo 3, 2025). An index has
every n-gram of words of every question. Of a document every `step`th n-gram is looked up; most are in no question. At a
hit the questions that have the n-gram are followed to the left and to the right, n-gram by n-gram, and one that has not
had a new n-gram for MAX_MISSES steps is given up: so edits, words left out and put in are passed over. N-grams that
more than `hot` questions have begin nothing. Behind the end of what was followed the search goes on.

Of a question that was followed there are two shares: of its n-grams, weighed by how few questions have them (idf), as
in decon; and of its words, those in n-grams that were met, which an edit takes fewer of.

Cost for 3.7 KB (600 words): words 2.7 us, n-grams 0.9 us, look-ups 0.5 us at a step of 4.

Shape legend: B documents, M slots of the index, U n-grams, P pairs of an n-gram and a question that has it, Q
questions, K those that are followed.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numba import njit, uint64
from numpy.typing import NDArray

from kernels.columns import Texts, join_texts
from kernels.passages import gram_hashes
from kernels.sketch import leaf
from kernels.words import code_point_table, normal_form, scratch_for, word_hashes

MAX_MISSES: Final = 11
BY_IDF, BY_WORDS = range(2)  # the share that counts


class QuestionIndex(NamedTuple):
    """N-grams of questions."""

    bits_M: NDArray[np.uint64]  # a bit for all n-grams whose hashes have the same upper bits, small enough for a cache
    hashes_M: NDArray[np.uint64]  # 0: no n-gram; a power of two of slots
    grams_M: NDArray[np.int32]  # number of the n-gram
    bounds_U1: NDArray[np.int64]  # n-gram u is in the questions owners_P[bounds[u] : bounds[u + 1]], ascending
    owners_P: NDArray[np.int32]
    idf_U: NDArray[np.float64]
    sums_Q: NDArray[np.float64]  # of the idf of the n-grams of each
    words_Q: NDArray[np.int32]


class Stamps(NamedTuple):
    """Scratch of a thread: in which cluster a pair of n-gram and question was last met."""

    stamps_P: NDArray[np.int64]
    stamp_1: NDArray[np.int64]


def new_stamps(index: QuestionIndex) -> Stamps:
    """Of no cluster yet."""
    return Stamps(np.zeros(len(index.owners_P), np.int64), np.zeros(1, np.int64))


def index_questions(texts: list[str], gram_words: int) -> QuestionIndex:
    """The index of the n-grams of these texts; what is shorter has none."""
    joined = join_texts([normal_form(text) for text in texts])
    room = int(joined.num_bytes().sum()) + 1
    hashes_G, owners_G, words_Q = np.empty(room, np.uint64), np.empty(room, np.int32), np.empty(len(texts), np.int32)
    end = all_grams(
        joined.buffer_N, joined.starts_B, joined.ends_B, code_point_table(), gram_words, hashes_G, owners_G, words_Q
    )
    order = np.lexsort((owners_G[:end], hashes_G[:end]))
    hashes_G, owners_G = hashes_G[order], owners_G[order]
    is_new_pair = np.ones(end, np.bool_)
    is_new_pair[1:] = (hashes_G[1:] != hashes_G[:-1]) | (owners_G[1:] != owners_G[:-1])
    hashes_P, owners_P = hashes_G[is_new_pair], owners_G[is_new_pair]
    firsts_U = np.flatnonzero(np.concatenate((np.ones(min(1, len(hashes_P)), np.bool_), hashes_P[1:] != hashes_P[:-1])))
    bounds_U1 = np.append(firsts_U, len(hashes_P)).astype(np.int64)
    # One more than there are: the n-grams of a single question weigh something, too.
    idf_U: NDArray[np.float64] = np.log((len(texts) + 1) / np.maximum(np.diff(bounds_U1), 1))
    num_slots = 1 << max(6, (2 * len(firsts_U)).bit_length())
    hashes_M, grams_M = np.zeros(num_slots, np.uint64), np.zeros(num_slots, np.int32)
    bits_M = np.zeros(num_slots // 16, np.uint64)  # 8 to 16 bits an n-gram
    fill_slots(hashes_P[firsts_U], bits_M, hashes_M, grams_M)
    sums_Q: NDArray[np.float64] = np.bincount(
        owners_P, np.repeat(idf_U, np.diff(bounds_U1)), minlength=len(texts)
    ).astype(np.float64)
    return QuestionIndex(bits_M, hashes_M, grams_M, bounds_U1, owners_P, idf_U, sums_Q, words_Q)


def find_questions(
    texts: Texts,
    index: QuestionIndex,
    limits_Q: NDArray[np.float64],
    stamps: Stamps,
    *,
    gram_words: int,
    step: int,
    hot: int,
    by: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The question of which each document has most, among those of which it has their limit, and its share.

    (questions_B, shares_B); -1 and 0 for none. Pure, but for `stamps`, which one thread at a time may use.
    """
    questions_B, shares_B = np.full(len(texts), -1, np.int32), np.zeros(len(texts), np.float32)
    composes_B = np.zeros(len(texts), np.bool_)
    parameters = code_point_table(), index, limits_Q, gram_words, step, hot, by, *stamps
    search(texts.buffer_N, texts.starts_B, texts.ends_B, *parameters, questions_B, shares_B, composes_B)
    for row in np.flatnonzero(composes_B).tolist():
        normal = join_texts([normal_form(texts[row])])
        outputs = questions_B[row : row + 1], shares_B[row : row + 1], np.zeros(1, np.bool_)
        outputs[0][:], outputs[1][:] = -1, 0
        search(normal.buffer_N, normal.starts_B, normal.ends_B, *parameters, *outputs)
    return questions_B, shares_B


@njit(cache=True, nogil=True, boundscheck=False)
def all_grams(buffer_N, starts_Q, ends_Q, table, gram_words, hashes_G, owners_G, words_Q):
    """Hashes of all n-grams of texts, and whose they are; their number."""
    lower, bounds, hashes = scratch_for(starts_Q, ends_Q)
    end = 0
    for q in range(len(starts_Q)):
        num_words, _ = word_hashes(buffer_N, starts_Q[q], ends_Q[q], table, lower, bounds, hashes)
        words_Q[q] = num_words
        for gram in range(gram_hashes(hashes, num_words, gram_words)):
            hashes_G[end], owners_G[end] = hashes[gram] | uint64(1), q
            end += 1
    return end


@njit(cache=True, nogil=True, boundscheck=False)
def fill_slots(hashes_U, bits_M, hashes_M, grams_M):
    """Put n-grams into the slots, and their bits."""
    places = uint64(64 * len(bits_M) - 1)
    mask = uint64(len(hashes_M) - 1)
    for u in range(len(hashes_U)):
        place = (hashes_U[u] >> uint64(32)) & places
        bits_M[place >> uint64(6)] |= uint64(1) << (place & uint64(63))
        slot = (hashes_U[u] >> uint64(20)) & mask
        while hashes_M[slot] != uint64(0):
            slot = (slot + uint64(1)) & mask
        hashes_M[slot], grams_M[slot] = hashes_U[u], u


@leaf
def gram_of(h, bits_M, hashes_M, grams_M):
    """The number of an n-gram; -1 if no question has it."""
    place = (h >> uint64(32)) & uint64(64 * len(bits_M) - 1)
    if (bits_M[place >> uint64(6)] >> (place & uint64(63))) & uint64(1) == uint64(0):
        return np.int64(-1)
    mask = uint64(len(hashes_M) - 1)
    slot = (h >> uint64(20)) & mask
    while hashes_M[slot] != uint64(0):
        if hashes_M[slot] == h:
            return np.int64(grams_M[slot])
        slot = (slot + uint64(1)) & mask
    return np.int64(-1)


@njit(cache=True, nogil=True, boundscheck=False)
def follow(hashes, at, end, direction, index, gram_words, stamp, stamps_P, first, idf_K, words_K, covered_K, misses_K):
    """Follow the questions of the n-gram at `at` to one side; the last place that was looked at.

    They are owners_P[first:...], one each of the last four; `covered_K` is how far their words count to this side.
    """
    num_alive, num_followed = len(idf_K), len(idf_K)
    bits_M, hashes_M, grams_M = index.bits_M, index.hashes_M, index.grams_M
    bounds_U1, owners_P, idf_U = index.bounds_U1, index.owners_P, index.idf_U
    for k in range(num_followed):
        misses_K[k], covered_K[k] = 0, at if direction < 0 else at + gram_words
    while num_alive > 0 and 0 <= at + direction < end:
        at += direction
        gram = gram_of(hashes[at] | uint64(1), bits_M, hashes_M, grams_M)
        p = bounds_U1[gram] if gram >= 0 else 0
        last = bounds_U1[gram + 1] if gram >= 0 else 0
        for k in range(num_followed):
            if misses_K[k] >= MAX_MISSES:
                continue
            owner = owners_P[first + k]
            while p < last and owners_P[p] < owner:
                p += 1
            if p < last and owners_P[p] == owner:
                if stamps_P[p] != stamp:
                    stamps_P[p] = stamp
                    idf_K[k] += idf_U[gram]
                    if direction < 0:
                        words_K[k] += min(gram_words, covered_K[k] - at)
                        covered_K[k] = at
                    else:
                        words_K[k] += at + gram_words - max(at, covered_K[k])
                        covered_K[k] = at + gram_words
                    misses_K[k] = 0
            else:
                misses_K[k] += 1
                num_alive -= misses_K[k] == MAX_MISSES
    return at


@njit(cache=True, nogil=True, boundscheck=False)
def search(
    buffer_N,
    starts_B,
    ends_B,
    table,
    index,
    limits_Q,
    gram_words,
    step,
    hot,
    by,
    stamps_P,
    stamp_1,
    questions_B,
    shares_B,
    composes_B,
):
    """Fill the last three. `stamps_P` is scratch, and `stamp_1` above all that is in it."""
    lower, bounds, hashes = scratch_for(starts_B, ends_B)
    bits_M, hashes_M, grams_M, bounds_U1 = index.bits_M, index.hashes_M, index.grams_M, index.bounds_U1
    stamp = stamp_1[0]
    room = min(hot, len(index.words_Q))
    idf_K, words_K = np.empty(room), np.empty(room, np.int64)
    covered_K, misses_K = np.empty(room, np.int64), np.empty(room, np.int64)
    for b in range(len(starts_B)):
        num_words, composes_B[b] = word_hashes(buffer_N, starts_B[b], ends_B[b], table, lower, bounds, hashes)
        end, at = gram_hashes(hashes, num_words, gram_words), 0
        while at < end:
            gram = gram_of(hashes[at] | uint64(1), bits_M, hashes_M, grams_M)
            if gram < 0:
                at += step
                continue
            first, last = bounds_U1[gram], bounds_U1[gram + 1]
            if last - first > hot:
                at += 1 if by == BY_IDF else step
                continue
            count, stamp = last - first, stamp + 1
            stamps_P[first:last] = stamp
            idf_K[:count], words_K[:count] = index.idf_U[gram], gram_words
            followed = idf_K[:count], words_K[:count], covered_K[:count], misses_K[:count]
            follow(hashes, at, end, -1, index, gram_words, stamp, stamps_P, first, *followed)
            at = 1 + follow(hashes, at, end, 1, index, gram_words, stamp, stamps_P, first, *followed)
            for k in range(count):
                q = index.owners_P[first + k]
                share = idf_K[k] / index.sums_Q[q] if by == BY_IDF else words_K[k] / index.words_Q[q]
                share = min(share, 1.0)
                # Sums in another order may differ in their last bits.
                if share >= limits_Q[q] - 1e-9 and share > shares_B[b]:
                    questions_B[b], shares_B[b] = q, share
    stamp_1[0] = stamp
