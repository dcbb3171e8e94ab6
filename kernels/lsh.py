"""The index of survivors: locality-sensitive hashing (Indyk and Motwani, 1998) with bounded work a document.

A document has a *tag* of 32 bits for each band of its MinHash signature (`kernels.minhash`), and a sketch by
which it is compared (`kernels.sketch`). Survivors with the same tag form a *bucket*: they, and documents that come
with that tag, are candidates of each other.

*Bounded work.* Documents of one template share the tags of what the template says, all of them; what such a bucket
says of two of its members is nothing. So a bucket takes BUCKET survivors and no more, and a document is compared with
at most BUDGET candidates, those of the smallest buckets first: a true copy also shares what only its original says,
and that bucket has the two alone. A document costs at most BUCKET entries of its own for each of its tags, and BUDGET
sketches, at any number of survivors.

*Spare tags.* A document has more tags than the `num_bands` under which it is found. They are read in order until so
many buckets with room were met; a survivor goes into these. A document like no other reads its first tags and no
more. One of a template also reads spare tags in place of those that say what the template says: memory is the same,
and as many of its tags tell it from the others.

The tags under which a survivor stands in the table are the fact that is kept. So what is found depends on the living
survivors and their tags alone, not on batches, on restarts or on the survivors that were dropped meanwhile.

*Table.* One table with open addressing and linear probing serves all bands. An entry has 8 bytes: the tag, which also
says where probing begins, and the slot + 1 (0 is an empty place). As places follow the order of the tags, the table
grows where it stands: its entries are spread over the longer array from the last to the first, in sequence, so the
peak is the new size and growing costs 9 ns an entry. Dropped documents keep slot and entries, marked dead, until
another survivor takes their place in the bucket or an eighth of the slots is dead; then all gaps are closed.

Cost and memory: docs/decisions/0019-near-duplicates-among-many.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from llvmlite import ir
from numba import njit, types, uint32, uint64
from numba.extending import intrinsic
from numpy.typing import NDArray

from kernels.growing import GrowingArray
from kernels.sketch import compare

MAX_LOAD: Final = 0.7
TABLE_GROWTH: Final = 1.2
SLOTS_GROWTH: Final = 1 / 16
MIN_CAPACITY: Final = 1 << 12
MAX_CAPACITY: Final = 1 << 32
MAX_DEAD_PARTS: Final = 8  # compacted when more than 1 / 8 of the slots is dead

BUCKET: Final = 32  # survivors that are found under one tag
BUDGET: Final = 64  # candidates that a document is compared with

leaf = njit(cache=True, nogil=True, boundscheck=False, _nrt=False)

BLOCK: Final = 4096  # places of the table that one step of its growth lifts


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The match of each document of a batch."""

    doc_nos_B: NDArray[np.int64]  # the best survivor before it, the oldest of equals; -1 if none is near
    similarities_B: NDArray[np.float32]  # to it; 0 if none is near
    tags_BR: NDArray[np.uint32]  # of a new survivor: those under which it is found, then 0
    work_B: NDArray[np.int64]  # entries of the table and sketches that were looked at


class SignatureIndex:
    """Survivors by their tags, their sketches, (S, Q) uint8, and their document numbers, which only ever increase.

    A document comes with T tags, none of them 0, and is found under R = `num_bands` of them at most. `sketch_bytes`, Q,
    is a multiple of 64. Symbols are as `kernels.minhash.sign` gives them: where one of two documents has few
    words, the two match only with the same symbols.
    """

    def __init__(self, *, sketch_bytes: int, num_bands: int) -> None:
        self.num_bands = num_bands
        self.num_slots = 0
        self.num_dead = 0
        self._table = GrowingArray(np.uint64)
        self._table.grow(MIN_CAPACITY)
        self._sketches = GrowingArray(np.uint8, (sketch_bytes,))
        self._symbols = GrowingArray(np.uint32)
        self._doc_nos = GrowingArray(np.int64)  # of a dropped document: ~doc_no, which is negative

    def __len__(self) -> int:
        return self.num_slots - self.num_dead

    def num_bytes(self) -> int:
        """Memory of table, sketches, symbols and document numbers."""
        arrays = self._table, self._sketches, self._symbols, self._doc_nos
        return sum(array.values.nbytes for array in arrays)

    def match(
        self,
        doc_nos_B: NDArray[np.int64],
        sketches_BQ: NDArray[np.uint8],
        tags_BT: NDArray[np.uint32],
        symbols_B: NDArray[np.uint32],
        eligible_B: NDArray[np.bool_],
        min_similarity: float,
    ) -> Found:
        """Of each document the best survivor before it; those without a match, if eligible, are survivors from then on.

        Of equally good ones the oldest is named.
        """
        self._check_increasing(doc_nos_B)
        self._reserve(len(doc_nos_B))
        found = Found(
            doc_nos_B=np.full(len(doc_nos_B), -1, np.int64),
            similarities_B=np.zeros(len(doc_nos_B), np.float32),
            tags_BR=np.zeros((len(doc_nos_B), self.num_bands), np.uint32),
            work_B=np.zeros(len(doc_nos_B), np.int64),
        )
        self.num_slots = match_and_insert(
            doc_nos_B,
            np.ascontiguousarray(sketches_BQ),
            np.ascontiguousarray(tags_BT),
            symbols_B,
            eligible_B,
            min_similarity,
            BUCKET,
            BUDGET,
            self._table.values,
            self._sketches.values,
            self._symbols.values,
            self._doc_nos.values,
            self.num_slots,
            found.doc_nos_B,
            found.similarities_B,
            found.tags_BR,
            found.work_B,
        )
        return found

    def insert(
        self,
        doc_nos_B: NDArray[np.int64],
        sketches_BQ: NDArray[np.uint8],
        tags_BR: NDArray[np.uint32],
        symbols_B: NDArray[np.uint32],
    ) -> None:
        """Survivors of an earlier time, put back without being matched into the bands that they stood in."""
        self._check_increasing(doc_nos_B)
        self._reserve(len(doc_nos_B))
        first, self.num_slots = self.num_slots, self.num_slots + len(doc_nos_B)
        self._sketches.values[first : self.num_slots] = sketches_BQ
        self._symbols.values[first : self.num_slots] = symbols_B
        self._doc_nos.values[first : self.num_slots] = doc_nos_B
        enter_tags(self._table.values, np.ascontiguousarray(tags_BR), first)

    def drop(self, doc_no: int) -> bool:
        """Free a survivor's place, so that later copies are new; whether it was one."""
        slot = find_slot(self._doc_nos.values, self.num_slots, doc_no)
        if slot < 0:
            return False
        self._doc_nos.values[slot] = ~doc_no
        self.num_dead += 1
        return True

    def _check_increasing(self, doc_nos_B: NDArray[np.int64]) -> None:
        if not len(doc_nos_B):
            return
        last = int(self._doc_nos.values[self.num_slots - 1]) if self.num_slots else 0
        newest = max(last, ~last) if self.num_slots else -1
        if doc_nos_B[0] <= newest or (np.diff(doc_nos_B) <= 0).any():
            raise ValueError(f"document numbers must increase: {doc_nos_B[0]} and the following come after {newest}")

    def _reserve(self, num_new: int) -> None:
        """Room for `num_new` more survivors at the allowed load."""
        if self.num_dead * MAX_DEAD_PARTS > self.num_slots:
            self._compact()
        capacity, needed = len(self._table.values), int((self.num_slots + num_new) * self.num_bands / MAX_LOAD) + 1
        if needed > capacity:
            grown = max(needed, int(capacity * TABLE_GROWTH))
            if grown > MAX_CAPACITY:
                most = int(MAX_CAPACITY * MAX_LOAD) // self.num_bands
                raise OverflowError(f"one index holds at most {most} documents")
            self._table.grow(grown)
            spread(self._table.values, capacity)
        if self.num_slots + num_new > len(self._doc_nos.values):
            slots = self.num_slots + num_new
            slots += int(slots * SLOTS_GROWTH)
            for array in (self._sketches, self._symbols, self._doc_nos):
                array.grow(slots)

    def _compact(self) -> None:
        """Close the gaps of dropped documents: slots change, and with them the entries of the table."""
        new_slots_S = np.empty(self.num_slots, np.int64)
        self.num_slots = close_gaps(
            self._sketches.values, self._symbols.values, self._doc_nos.values, self.num_slots, new_slots_S
        )
        self.num_dead = 0
        renumber(self._table.values, new_slots_S)
        spread(self._table.values, len(self._table.values))


@intrinsic
def prefetch(typing_context, array, index):
    """Ask for the cache line of `array[index]`."""

    def codegen(context, builder, signature, args):
        pointer = context.make_array(signature.args[0])(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(pointer, [args[1]]), ir.IntType(8).as_pointer())
        i32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, i32, i32, i32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        builder.call(function, [pointer, ir.Constant(i32, 0), ir.Constant(i32, 3), ir.Constant(i32, 1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


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
def make_entry(tag, slot):
    """The tag above, the slot + 1 below."""
    return uint64(tag) << uint64(32) | uint64(slot + 1)


@njit(cache=True, nogil=True, boundscheck=False)
def renumber(table_C, new_slots_S):
    """Give entries the new slots of their documents. Those of slot -1 keep their tag only; `spread` leaves them out."""
    for place in range(len(table_C)):
        entry = table_C[place]
        if entry != uint64(0):
            slot = new_slots_S[np.int64(entry & uint64(0xFFFFFFFF)) - 1]
            table_C[place] = make_entry(entry >> uint64(32), slot)


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
            num_lifted += entry & uint64(0xFFFFFFFF) != uint64(0)
        for i in range(num_lifted):
            enter(table_C, lifted[i])
        end = start


@njit(cache=True, nogil=True, boundscheck=False)
def enter_tags(table_C, tags_BR, first):
    """Enter the documents of slot `first` and following in every band in which they have a tag."""
    num_bands = tags_BR.shape[1]
    for row in range(len(tags_BR) + 1):
        if row < len(tags_BR):
            for band in range(num_bands):
                prefetch(table_C, home_of_tag(tags_BR[row, band], len(table_C)))
        if row > 0:
            for band in range(num_bands):
                tag = tags_BR[row - 1, band]
                if tag != uint32(0):
                    enter(table_C, make_entry(tag, first + row - 1))


@leaf
def is_taken(table_C, doc_nos_S, place):
    """Whether an entry of a living survivor stands there."""
    entry = table_C[place]
    return entry != uint64(0) and doc_nos_S[np.int64(entry & uint64(0xFFFFFFFF)) - 1] >= 0


@leaf
def read_bucket(table_C, doc_nos_S, tag, bucket, slots, first):
    """Living survivors with this tag, `bucket` at most, go to `slots[first:]`: (number, a place for one more, steps).

    The place is that of a dead one if there is any, else the next empty one.
    """
    place = home_of_tag(tag, len(table_C))
    num_found, free, steps = 0, np.int64(-1), 0
    while num_found < bucket:
        entry = table_C[place]
        steps += 1
        if entry == uint64(0):
            if free < 0:
                free = place
            break
        if entry >> uint64(32) == uint64(tag):
            slot = np.int64(entry & uint64(0xFFFFFFFF)) - 1
            if doc_nos_S[slot] >= 0:
                slots[first + num_found] = slot
                num_found += 1
            elif free < 0:
                free = place
        place += 1
        if place == len(table_C):
            place = 0
    return num_found, free, steps


@leaf
def have_other_symbols(a, b):
    """Whether one of two documents has few words, which its lowest bit says, and the symbols differ."""
    return (a | b) & uint32(1) != uint32(0) and a >> uint32(1) != b >> uint32(1)


@njit(cache=True, nogil=True, boundscheck=False)
def match_and_insert(
    doc_nos_B,
    sketches_BQ,
    tags_BT,
    symbols_B,
    eligible_B,
    min_similarity,
    bucket,
    budget,
    table_C,
    sketches_SQ,
    symbols_S,
    doc_nos_S,
    num_slots,
    matches_B,
    similarities_B,
    kept_BR,
    work_B,
):
    """Match documents one after the other and insert those without a match; the new number of slots.

    The tags under which a new survivor is found go to `kept_BR`, which is 0 before.
    """
    num_bytes, num_tags, num_bands = sketches_BQ.shape[1], tags_BT.shape[1], kept_BR.shape[1]
    queries, stored = sketches_BQ.reshape(-1), sketches_SQ.reshape(-1)
    slots = np.empty(num_tags * bucket, np.int64)  # of each band in turn
    counts_T, places_T = np.zeros(num_tags, np.int64), np.zeros(num_tags, np.int64)
    order_T = np.empty(num_tags, np.int64)
    candidates = np.empty(budget, np.int64)
    for ahead in range(len(doc_nos_B) + 1):
        if ahead < len(doc_nos_B) and eligible_B[ahead]:
            for band in range(num_bands):
                prefetch(table_C, home_of_tag(tags_BT[ahead, band], len(table_C)))
        row = ahead - 1
        if row < 0 or not eligible_B[row]:
            continue
        work, num_buckets, num_read, num_with_room = 0, 0, 0, 0
        while num_read < num_tags and num_with_room < num_bands:
            band, tag = num_read, tags_BT[row, num_read]
            if band == num_bands:
                for spare in range(num_bands, num_tags):
                    prefetch(table_C, home_of_tag(tags_BT[row, spare], len(table_C)))
            found, places_T[band], steps = read_bucket(table_C, doc_nos_S, tag, bucket, slots, band * bucket)
            counts_T[band] = found
            num_read += 1
            num_with_room += found < bucket
            work += steps
            if found > 0:
                # Sorted by size; of equals the first band comes first.
                place = num_buckets
                while place > 0 and counts_T[order_T[place - 1]] > found:
                    order_T[place] = order_T[place - 1]
                    place -= 1
                order_T[place] = band
                num_buckets += 1
        num_candidates, taken = 0, 0
        for i in range(num_buckets):
            band = order_T[i]
            taken += counts_T[band]
            if taken > budget:
                break
            for c in range(counts_T[band]):
                slot = slots[band * bucket + c]
                known = False
                for other in range(num_candidates):
                    known |= candidates[other] == slot
                if not known:
                    candidates[num_candidates] = slot
                    num_candidates += 1
                    prefetch(stored, slot * num_bytes)
        best_slot, best_above, best_below = np.int64(-1), np.int64(0), np.int64(1)
        for i in range(num_candidates):
            slot = candidates[i]
            if have_other_symbols(symbols_B[row], symbols_S[slot]):
                continue
            above, below = compare(queries, row * num_bytes, stored, slot * num_bytes, num_bytes, min_similarity)
            if above >= min_similarity * below:
                lead = above * best_below - best_above * below
                if best_slot < 0 or lead > 0 or (lead == 0 and slot < best_slot):
                    best_slot, best_above, best_below = slot, above, below
        work_B[row] = work + num_candidates
        if best_slot >= 0:
            matches_B[row] = doc_nos_S[best_slot]
            similarities_B[row] = best_above / best_below
            continue
        for j in range(num_bytes):
            stored[num_slots * num_bytes + j] = queries[row * num_bytes + j]
        symbols_S[num_slots] = symbols_B[row]
        doc_nos_S[num_slots] = doc_nos_B[row]
        num_kept = 0
        for band in range(num_read):
            is_full = counts_T[band] == bucket
            tag, place = tags_BT[row, band], places_T[band]
            if not is_full and is_taken(table_C, doc_nos_S, place):
                # By another band of this document: look again.
                found, place, _ = read_bucket(table_C, doc_nos_S, tag, bucket, slots, band * bucket)
                is_full = found == bucket
            if not is_full:
                table_C[place] = make_entry(tag, num_slots)
                kept_BR[row, num_kept] = tag
                num_kept += 1
        num_slots += 1
    return num_slots


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
