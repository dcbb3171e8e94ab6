"""The table of the newest survivors: which have a tag in a band. Open addressing, linear probing, one for all bands.

An entry has 8 bytes: the tag, which also says where probing begins, the *shelf* of its band, by which like tags of
other bands are told apart, and the slot + 1 (0 is an empty place). As places follow the order of the tags, the table
grows where it stands: its entries are spread over the longer array from the last to the first, in sequence, so the peak
is the new size and growing costs 9 ns an entry. Dropped survivors keep slot and entries, marked dead, until another
takes their place in the bucket or their gaps are closed. Forgotten ones, whose numbers are below `oldest`, count as
dead.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit, uint32, uint64

from kernels.addresses import prefetch

leaf = njit(cache=True, nogil=True, boundscheck=False, _nrt=False)

SLOT_BITS: Final = 26
SLOT_MASK: Final = (1 << SLOT_BITS) - 1
SHELVES: Final = 1 << (32 - SLOT_BITS)  # at most
BLOCK: Final = 4096  # places of the table that one step of its growth lifts


@leaf
def home_of_tag(tag, capacity):
    """Where probing begins for a tag: scaled to the capacity, so that places follow the order of the tags."""
    return np.int64((uint64(tag) * uint64(capacity)) >> uint64(32))


@leaf
def home(entry, capacity):
    """Where probing begins for an entry."""
    return home_of_tag(entry >> uint64(32), capacity)


@leaf
def enter(table_C, entry):
    """Put an entry into the first empty place from its home on."""
    place = home(entry, len(table_C))
    while table_C[place] != uint64(0):
        place += 1
        if place == len(table_C):
            place = 0
    table_C[place] = entry


@leaf
def make_entry(tag, shelf, slot):
    """The tag above, the shelf, and the slot + 1 below."""
    return uint64(tag) << uint64(32) | uint64(shelf) << uint64(SLOT_BITS) | uint64(slot + 1)


@leaf
def slot_of(entry):
    """The slot of an entry; -1 if it has none."""
    return np.int64(entry & uint64(SLOT_MASK)) - 1


@njit(cache=True, nogil=True, boundscheck=False)
def renumber(table_C, new_slots_S):
    """Give entries the new slots of their documents. Those of slot -1 have none; `spread` leaves them out."""
    for place in range(len(table_C)):
        entry = table_C[place]
        if entry != uint64(0):
            slot = new_slots_S[slot_of(entry)]
            table_C[place] = (entry & ~uint64(SLOT_MASK)) | uint64(slot + 1)


@njit(cache=True, nogil=True, boundscheck=False)
def spread(table_C, old_capacity):
    """Give the entries in `table_C[:old_capacity]` their places in the whole of `table_C`, whose rest is empty.

    Blocks of whole runs of entries are lifted and entered again from the last to the first. An entry's new home is not
    before its old one, and so not before its run: what is entered never lands among runs still to come, but for what
    wraps around the end, and that is lifted again with the run it joined.
    """
    lifted = np.empty(2 * BLOCK, np.uint64)
    if table_C[0] != uint64(0) and table_C[old_capacity - 1] != uint64(0):
        # The last run goes on at the beginning: its head has homes at the end, and is lifted before all others.
        head = 0
        while table_C[head] != uint64(0):
            head += 1
        lifted = np.empty(head, np.uint64)
        lifted[:] = table_C[:head]
        table_C[:head] = uint64(0)
        for i in range(head):
            enter(table_C, lifted[i])
    end = old_capacity
    while end < len(table_C) and table_C[end] != uint64(0):
        end += 1
    while end > 0:
        start = max(0, end - BLOCK)
        while start > 0 and table_C[start - 1] != uint64(0):
            start -= 1
        if end - start > len(lifted):
            lifted = np.empty(end - start, np.uint64)
        num_lifted = 0
        for place in range(start, end):
            entry = table_C[place]
            table_C[place] = uint64(0)
            lifted[num_lifted] = entry
            num_lifted += slot_of(entry) >= 0
        for i in range(num_lifted):
            enter(table_C, lifted[i])
        end = start


@njit(cache=True, nogil=True, boundscheck=False)
def enter_tags(table_C, tags_BR, shelves_BR, first):
    """Enter the documents of slot `first` and following under every tag that they have."""
    num_bands = tags_BR.shape[1]
    for row in range(len(tags_BR) + 1):
        if row < len(tags_BR):
            for band in range(num_bands):
                prefetch(table_C, home_of_tag(tags_BR[row, band], len(table_C)))
        if row > 0:
            for band in range(num_bands):
                tag = tags_BR[row - 1, band]
                if tag != uint32(0):
                    enter(table_C, make_entry(tag, shelves_BR[row - 1, band], first + row - 1))


@leaf
def is_taken(table_C, doc_nos_S, oldest, place):
    """Whether an entry of a living survivor stands there."""
    entry = table_C[place]
    return entry != uint64(0) and doc_nos_S[slot_of(entry)] >= oldest


@leaf
def read_bucket(table_C, doc_nos_S, oldest, tag, shelf, bucket, slots, first):
    """Living survivors with this tag, `bucket` at most, go to `slots[first:]`: (number, a place for one more, steps).

    The place is that of a dead one if there is any, else the next empty one.
    """
    place = home_of_tag(tag, len(table_C))
    wanted = make_entry(tag, shelf, -1) >> uint64(SLOT_BITS)
    num_found, free, steps = 0, np.int64(-1), 0
    while num_found < bucket:
        entry = table_C[place]
        steps += 1
        if entry == uint64(0):
            if free < 0:
                free = place
            break
        if entry >> uint64(SLOT_BITS) == wanted:
            slot = slot_of(entry)
            if doc_nos_S[slot] >= oldest:
                slots[first + num_found] = slot
                num_found += 1
            elif free < 0:
                free = place
        place += 1
        if place == len(table_C):
            place = 0
    return num_found, free, steps


@njit(cache=True, nogil=True, boundscheck=False)
def find_slot(doc_nos_S, num_slots, doc_no):
    """Slot of a survivor by binary search, -1 if it is none or was dropped."""
    low, high = 0, num_slots
    while low < high:
        middle = (low + high) // 2
        value = doc_nos_S[middle]
        if max(value, ~value) < doc_no:
            low = middle + 1
        else:
            high = middle
    return low if low < num_slots and doc_nos_S[low] == doc_no else -1


@njit(cache=True, nogil=True, boundscheck=False)
def close_gaps(sketches_SQ, symbols_S, doc_nos_S, num_slots, new_slots_S):
    """Move the living together, in order; how many they are. The new slot of each, or -1, goes to `new_slots_S`."""
    kept = 0
    for slot in range(num_slots):
        new_slots_S[slot] = -1
        if doc_nos_S[slot] >= 0:
            if kept < slot:
                sketches_SQ[kept] = sketches_SQ[slot]
                symbols_S[kept] = symbols_S[slot]
                doc_nos_S[kept] = doc_nos_S[slot]
            new_slots_S[slot] = kept
            kept += 1
    return kept


@njit(cache=True, nogil=True, boundscheck=False)
def entries_of(table_C, words_N):
    """Every entry as shelf, tag and slot, from the upper bits down; how many they are."""
    num_words = 0
    for place in range(len(table_C)):
        entry = table_C[place]
        if entry != uint64(0):
            shelf = (entry >> uint64(SLOT_BITS)) & uint64(SHELVES - 1)
            words_N[num_words] = shelf << uint64(32 + SLOT_BITS) | (entry >> uint64(32)) << uint64(SLOT_BITS)
            words_N[num_words] |= uint64(slot_of(entry))
            num_words += 1
    return num_words
