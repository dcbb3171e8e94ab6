"""How much of a text its recurring word n-grams make up: Gopher's top and duplicated n-grams.

n climbs from 2 to 10. An n-gram that occurs once is part of no longer one that occurs twice, so only places where the
(n-1)-gram and its right neighbour both recur are looked at again, and the climb ends where nothing recurs. An n-gram
is named by the place where it first stands; where it goes on as it did there, the longer n-gram keeps the name, and
only where the two part is it looked up by the names of its two halves. (Two word pairs could only be confused if their
64-bit hashes were equal: once in 10^13 documents.)

top n-gram (n = 2, 3, 4): occurrences of the most frequent n-gram, the earliest of equals, times its length with single
spaces. Duplicated n-grams (n = 5 to 10): reading from left to right, an n-gram that was read before adds its length
without spaces and is jumped over whole; an n-gram counts as read only if no jump went over its start.

Cost: 5 ns a word, then 7 ns a recurring place and n; linear for a million equal words too.

Rae et al., "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", 2021, table A1; the details
are those of datatrove's GopherRepetitionFilter, but for one: datatrove glues the words of a duplicated n-gram together
before it compares, so that "1 11" and "11 1" are equal there and different here.

Shape legend: M words, T slots of a hash table (a power of two), P places still looked at, G lengths of
an n-gram, from 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import uint64
from numpy.typing import NDArray

from kernels.characters import inlined_leaf, leaf
from kernels.simd import mix_multiply

LONGEST_TOP_NGRAM = 4
LONGEST_NGRAM = 10
ODD = 0x9E3779B97F4A7C15


class NgramMemory(NamedTuple):
    """Working memory of one thread, large enough for the longest document of a batch."""

    table_T: NDArray[np.int32]  # first place of an n-gram, plus 1; 0 is empty
    places_P: NDArray[np.int32]  # where recurring n-grams start, ascending
    names_M: NDArray[np.int32]  # by place: the first place of the same n-gram
    keys_M: NDArray[np.uint64]  # by first place: what the n-gram is known by
    counts_M: NDArray[np.int32]  # by first place: occurrences; -1 once it was read
    characters_G: NDArray[np.int64]  # by n: the result


def allocate_ngrams(longest_bytes: int) -> NgramMemory:
    """Memory for documents of up to `longest_bytes`; pages that no document needs are never touched."""
    num_words = longest_bytes // 2 + 2
    num_slots = 64
    while num_slots < 4 * num_words:
        num_slots *= 2
    return NgramMemory(
        table_T=np.empty(num_slots, np.int32),
        places_P=np.empty(num_words, np.int32),
        names_M=np.empty(num_words, np.int32),
        keys_M=np.empty(num_words, np.uint64),
        counts_M=np.empty(num_words, np.int32),
        characters_G=np.zeros(LONGEST_NGRAM + 1, np.int64),
    )


@leaf
def measure_ngrams(hashes_M, characters_before_M, num_words, memory):
    """Characters in the top 2-, 3-, 4-grams and in duplicated 5- to 10-grams, into `memory.characters_G`."""
    memory.characters_G[:] = 0
    num_places = _name_pairs(hashes_M, num_words, memory)
    for n in range(2, LONGEST_NGRAM + 1):
        if n > 2:
            num_places = _name_longer(hashes_M, n - 1, memory, num_places)
        num_places, most, place = _keep_recurring(memory, num_places)
        if n > LONGEST_TOP_NGRAM and num_places == 0:
            break
        if n > LONGEST_TOP_NGRAM:
            memory.characters_G[n] = _duplicated(characters_before_M, n, memory, num_places)
        elif num_words >= n:  # where none recurs, the first stands for all
            characters = characters_before_M[place + n] - characters_before_M[place]
            memory.characters_G[n] = most * (characters + n - 1)


@leaf
def _name_pairs(hashes_M, num_words, memory):
    """Name and count all word pairs; returns their number."""
    num_places = max(num_words - 1, 0)
    slot_mask = _cleared(memory.table_T, 2 * num_places)
    for i in range(num_places):
        key = hashes_M[i] * uint64(ODD) + hashes_M[i + 1]
        memory.places_P[i] = i
        _name(memory, slot_mask, key >> uint64(32), key, i)
    return num_places


@leaf
def _name_longer(hashes_M, n, memory, num_places):
    """From the places of recurring n-grams to named (n+1)-grams; returns the number of their places."""
    num_longer = 0
    for p in range(num_places - 1):
        i = memory.places_P[p]
        memory.places_P[num_longer] = i
        num_longer += int(memory.places_P[p + 1] == i + 1)
    slot_mask = _cleared(memory.table_T, num_longer)
    for p in range(num_longer):
        i = memory.places_P[p]
        name = memory.names_M[i]
        if hashes_M[name + n] == hashes_M[i + n]:  # it goes on as its first place does, and keeps the name
            memory.counts_M[name] = memory.counts_M[name] * int(name != i) + 1
        else:  # the neighbour still has its shorter name: places ascend
            key = uint64(name) << uint64(32) | uint64(memory.names_M[i + 1])
            _name(memory, slot_mask, mix_multiply(key, uint64(ODD)), key, i)
    return num_longer


@leaf
def _cleared(table_T, num_entries):
    """Empty as much of the table as `num_entries` fill to at most a half; returns the mask of its slot numbers."""
    num_slots = 16
    while num_slots < 2 * num_entries:
        num_slots *= 2
    table_T[:num_slots] = 0
    return uint64(num_slots - 1)


@inlined_leaf
def _name(memory, slot_mask, mixed, key, i):
    """Name the n-gram at place `i` by the first place with its key, and count it."""
    slot = mixed & slot_mask
    memory.keys_M[i] = key
    memory.counts_M[i] = 0
    entry = memory.table_T[slot]
    first = i + 1 if entry == 0 else entry  # as good as random: chosen rather than branched on
    while True:
        memory.table_T[slot] = first
        name = first - 1
        if memory.keys_M[name] == key:
            break
        slot = (slot + uint64(1)) & slot_mask
        first = memory.table_T[slot]
        if first == 0:
            first = i + 1
    memory.names_M[i] = name
    memory.counts_M[name] += 1


@leaf
def _keep_recurring(memory, num_places):
    """Forget the places whose n-gram turned out to occur once.

    Returns how many are left, the occurrences of the most frequent n-gram, and its first place, the earliest of equals.
    """
    num_kept, most, place = 0, 1, 0
    for p in range(num_places):
        i = memory.places_P[p]
        memory.places_P[num_kept] = i
        count = memory.counts_M[memory.names_M[i]]
        num_kept += int(count > 1)
        place = i if count > most else place
        most = max(most, count)
    return num_kept, most, place


@leaf
def _duplicated(characters_before_M, n, memory, num_places):
    """Characters in n-grams that were read before."""
    characters = 0
    after_jump = 0
    for p in range(num_places):
        i = int(memory.places_P[p])
        if i < after_jump:
            continue
        name = memory.names_M[i]
        if memory.counts_M[name] < 0:
            characters += characters_before_M[i + n] - characters_before_M[i]
            after_jump = i + n
        else:
            memory.counts_M[name] = -1
    return characters
