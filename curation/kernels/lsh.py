"""Locality-sensitive hashing over packed MinHash signatures: the index of survivors (Indyk and Motwani, 1998).

A packed signature has 4 or 8 bits a permutation. Two documents of similarity J agree in one band of r permutations
with probability J^r; whoever agrees in a band is a candidate, and *every* candidate is verified: of different minima
one in c = 16 or 256 is equal in the bits that are kept, so a share a of equal values means a similarity of
(a - 1/c) / (1 - 1/c). For the same memory, many permutations of few bits estimate better than few of many bits: the
standard error at J = 0.7 is 0.030 for 256 permutations of 4 bits and 0.041 for 128 of 8 bits (Li and König, 2010).

The signatures of survivors stand in one array, in order of arrival; a survivor's place in it is its slot. One table
with open addressing and linear probing serves all bands. An entry has 8 bytes: 32 bits of the band's hash, which also
say where probing begins, and the slot + 1 (0 is an empty place). As places follow the order of the hashes, the table
grows where it stands: its entries are spread over the longer array from the last to the first, in sequence, so the
peak is the new size and growing costs 9 ns an entry. Dropped documents keep slot and entries, marked dead, until an
eighth of the slots is dead; then the table is filled anew from the signatures, which tell all that is in it.

Cost: 2.5 us a document for query and insertion up to 1M documents, of which growing 1 us. Memory at 16 bands: 128 bytes
of signature, 8 of document number, 16 * 8 bytes of table at a load of 0.47 to 0.56; at most 420.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from llvmlite import ir
from numba import njit, types, uint64
from numba.extending import intrinsic
from numpy.typing import NDArray

from curation.kernels.simd import BYTES_64, I64, load_block, load_u64, mix_multiply

MAX_LOAD: Final = 0.56
TABLE_GROWTH: Final = 1.2
SLOTS_GROWTH: Final = 1 / 16
MIN_CAPACITY: Final = 1 << 12
MAX_CAPACITY: Final = 1 << 32
MAX_DEAD_PARTS: Final = 8  # compacted when more than 1 / 8 of the slots is dead

BLOCK: Final = 4096  # places of the table that one step of its growth lifts

BAND_STEP = np.uint64(0x9E3779B97F4A7C15)
FINISH = np.uint64(0xC4CEB9FE1A85EC53)


class SignatureIndex:
    """Survivors by their packed signatures, (S, P) uint8, and their document numbers, which only ever increase.

    `num_bytes`, a multiple of 64, is that of a signature of `bits` bits a permutation; the bands are the first
    `num_bands` times `band_bytes` bytes of it.
    """

    def __init__(self, *, num_bytes: int, bits: int, num_bands: int, band_bytes: int) -> None:
        self.bits = bits
        self.num_bands = num_bands
        self.band_bytes = band_bytes
        self.num_slots = 0
        self.num_dead = 0
        self._table_C = np.zeros(MIN_CAPACITY, np.uint64)
        self._signatures_SP = np.empty((0, num_bytes), np.uint8)
        self._doc_nos_S = np.empty(0, np.int64)  # of a dropped document: ~doc_no, which is negative

    def __len__(self) -> int:
        return self.num_slots - self.num_dead

    def num_bytes(self) -> int:
        """Memory of table, signatures and document numbers."""
        return self._table_C.nbytes + self._signatures_SP.nbytes + self._doc_nos_S.nbytes

    def match(
        self,
        doc_nos_B: NDArray[np.int64],
        signatures_BP: NDArray[np.uint8],
        eligible_B: NDArray[np.bool_],
        min_equal: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each document the best survivor before it, and how many permutations are equal: (doc_nos_B, equal_B).

        -1 and 0 where no survivor has `min_equal`; such a document, if eligible, is a survivor from then on. Of equally
        good ones the oldest is named.
        """
        self._check_increasing(doc_nos_B)
        self._reserve(len(doc_nos_B))
        matches_B, equal_B = np.full(len(doc_nos_B), -1, np.int64), np.zeros(len(doc_nos_B), np.int64)
        self.num_slots = match_and_insert(
            doc_nos_B,
            np.ascontiguousarray(signatures_BP),
            eligible_B,
            min_equal,
            self.bits,
            self.num_bands,
            self.band_bytes,
            self._table_C,
            self._signatures_SP,
            self._doc_nos_S,
            self.num_slots,
            matches_B,
            equal_B,
        )
        return matches_B, equal_B

    def insert(self, doc_nos_B: NDArray[np.int64], signatures_BP: NDArray[np.uint8]) -> None:
        """Survivors of an earlier time, put back without being matched."""
        self._check_increasing(doc_nos_B)
        self._reserve(len(doc_nos_B))
        first, self.num_slots = self.num_slots, self.num_slots + len(doc_nos_B)
        self._signatures_SP[first : self.num_slots] = signatures_BP
        self._doc_nos_S[first : self.num_slots] = doc_nos_B
        enter_slots(self._table_C, self._signatures_SP, first, self.num_slots, self.num_bands, self.band_bytes)

    def drop(self, doc_no: int) -> bool:
        """Free a survivor's place, so that later copies are new; whether it was one."""
        slot = find_slot(self._doc_nos_S, self.num_slots, doc_no)
        if slot < 0:
            return False
        self._doc_nos_S[slot] = ~doc_no
        self.num_dead += 1
        return True

    def _check_increasing(self, doc_nos_B: NDArray[np.int64]) -> None:
        if not len(doc_nos_B):
            return
        last = int(self._doc_nos_S[self.num_slots - 1]) if self.num_slots else 0
        newest = max(last, ~last) if self.num_slots else -1
        if doc_nos_B[0] <= newest or (np.diff(doc_nos_B) <= 0).any():
            raise ValueError(f"document numbers must increase: {doc_nos_B[0]} and the following come after {newest}")

    def _reserve(self, num_new: int) -> None:
        """Room for `num_new` more survivors at the allowed load."""
        if self.num_dead * MAX_DEAD_PARTS > self.num_slots:
            self._compact()
        capacity, needed = len(self._table_C), int((self.num_slots + num_new) * self.num_bands / MAX_LOAD) + 1
        if needed > capacity:
            grown = max(needed, int(capacity * TABLE_GROWTH))
            if grown > MAX_CAPACITY:
                most = int(MAX_CAPACITY * MAX_LOAD) // self.num_bands
                raise OverflowError(f"one index holds at most {most} documents")
            # In place: large blocks are moved by remapping pages, so old and new never stand side by side.
            self._table_C.resize(grown, refcheck=False)
            spread(self._table_C, capacity)
        if self.num_slots + num_new > len(self._doc_nos_S):
            slots = self.num_slots + num_new
            slots += int(slots * SLOTS_GROWTH)
            self._signatures_SP.resize((slots, self._signatures_SP.shape[1]), refcheck=False)
            self._doc_nos_S.resize(slots, refcheck=False)

    def _compact(self) -> None:
        """Close the gaps of dropped documents; slots change, so the table is filled anew."""
        self.num_slots = close_gaps(self._signatures_SP, self._doc_nos_S, self.num_slots)
        self.num_dead = 0
        self._table_C.fill(0)
        enter_slots(self._table_C, self._signatures_SP, 0, self.num_slots, self.num_bands, self.band_bytes)


@intrinsic
def equal_bytes_64(typing_context, a, a_index, b, b_index):
    """How many of the 64 bytes at `a[a_index:]` and `b[b_index:]` are equal, pairwise."""

    def codegen(context, builder, signature, args):
        a_block = load_block(context, builder, signature.args[0], args[0], args[1])
        b_block = load_block(context, builder, signature.args[2], args[2], args[3])
        return builder.ctpop(builder.bitcast(builder.icmp_unsigned("==", a_block, b_block), I64))

    return types.int64(a, types.int64, b, types.int64), codegen


@intrinsic
def equal_nibbles_64(typing_context, a, a_index, b, b_index):
    """How many of the 128 half bytes at `a[a_index:]` and `b[b_index:]` are equal, pairwise."""

    def codegen(context, builder, signature, args):
        a_block = load_block(context, builder, signature.args[0], args[0], args[1])
        b_block = load_block(context, builder, signature.args[2], args[2], args[3])
        different = builder.xor(a_block, b_block)
        zero = ir.Constant(BYTES_64, [0] * 64)
        counts = []
        for half in (0x0F, 0xF0):
            part = builder.and_(different, ir.Constant(BYTES_64, [half] * 64))
            counts.append(builder.ctpop(builder.bitcast(builder.icmp_unsigned("==", part, zero), I64)))
        return builder.add(*counts)

    return types.int64(a, types.int64, b, types.int64), codegen


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


@njit(cache=True, nogil=True, boundscheck=False)
def band_hash(flat, start, num_bytes, band):
    """64-bit hash of the band's bytes `flat[start:start + num_bytes]` and its number."""
    h = uint64(band + 1) * BAND_STEP
    while num_bytes > 8:
        h = mix_multiply(h ^ load_u64(flat, start), BAND_STEP)
        start += 8
        num_bytes -= 8
    word = uint64(0)
    for i in range(num_bytes):
        word |= uint64(flat[start + i]) << uint64(8 * i)
    return mix_multiply(h ^ word, FINISH)


@njit(cache=True, nogil=True, boundscheck=False)
def home(h, capacity):
    """Where probing begins for a hash, or for an entry with it: the upper half, scaled to the capacity."""
    return np.int64(((h >> uint64(32)) * uint64(capacity)) >> uint64(32))


@njit(cache=True, nogil=True, boundscheck=False)
def is_equal(a, a_start, b, b_start, num_bytes):
    """Whether two runs of bytes are the same."""
    i = 0
    while i < num_bytes and a[a_start + i] == b[b_start + i]:
        i += 1
    return i == num_bytes


@njit(cache=True, nogil=True, boundscheck=False)
def enter(table_C, entry):
    """Put an entry into the first empty place from its home on."""
    place = home(entry, len(table_C))
    while table_C[place] != uint64(0):
        place += 1
        if place == len(table_C):
            place = 0
    table_C[place] = entry


@njit(cache=True, nogil=True, boundscheck=False)
def make_entry(h, slot):
    """32 bits of the band's hash above, the slot + 1 below."""
    return (h >> uint64(32) << uint64(32)) | uint64(slot + 1)


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
            num_lifted += entry != uint64(0)
        for i in range(num_lifted):
            enter(table_C, lifted[i])
        end = start


@njit(cache=True, nogil=True, boundscheck=False)
def enter_slots(table_C, signatures_SP, first, end, num_bands, band_bytes):
    """Enter all bands of the signatures `first` to `end - 1`."""
    num_bytes = signatures_SP.shape[1]
    flat = signatures_SP.reshape(-1)
    hashes = np.empty((2, num_bands), np.uint64)
    for slot in range(first, end + 1):
        if slot < end:
            for band in range(num_bands):
                h = band_hash(flat, slot * num_bytes + band * band_bytes, band_bytes, band)
                hashes[slot & 1, band] = h
                prefetch(table_C, home(h, len(table_C)))
        if slot > first:
            for band in range(num_bands):
                enter(table_C, make_entry(hashes[(slot - 1) & 1, band], slot - 1))


@njit(cache=True, nogil=True, boundscheck=False)
def match_and_insert(
    doc_nos_B,
    signatures_BP,
    eligible_B,
    min_equal,
    bits,
    num_bands,
    band_bytes,
    table_C,
    signatures_SP,
    doc_nos_S,
    num_slots,
    matches_B,
    equal_B,
):
    """Match documents one after the other and insert those without a match; the new number of slots.

    A candidate must really share the band, not only 32 bits of its hash: what matches may not depend on the size of
    the table, and so not on how documents were batched.
    """
    num_bytes = signatures_BP.shape[1]
    queries, stored = signatures_BP.reshape(-1), signatures_SP.reshape(-1)
    hashes = np.empty((2, num_bands), np.uint64)
    for ahead in range(len(doc_nos_B) + 1):
        if ahead < len(doc_nos_B) and eligible_B[ahead]:
            for band in range(num_bands):
                h = band_hash(queries, ahead * num_bytes + band * band_bytes, band_bytes, band)
                hashes[ahead & 1, band] = h
                prefetch(table_C, home(h, len(table_C)))
        row = ahead - 1
        if row < 0 or not eligible_B[row]:
            continue
        query = row * num_bytes
        best_slot, best_equal, last_slot = np.int64(-1), min_equal - 1, np.int64(-1)
        for band in range(num_bands):
            h = hashes[row & 1, band]
            place = home(h, len(table_C))
            while True:
                entry = table_C[place]
                if entry == uint64(0):
                    break
                if (entry ^ h) >> uint64(32) == uint64(0):
                    slot = np.int64(entry & uint64(0xFFFFFFFF)) - 1
                    if slot != last_slot and doc_nos_S[slot] >= 0:
                        candidate = slot * num_bytes
                        start = band * band_bytes
                        if is_equal(queries, query + start, stored, candidate + start, band_bytes):
                            last_slot = slot
                            equal = 0
                            for block in range(0, num_bytes, 64):
                                if bits == 4:
                                    equal += equal_nibbles_64(queries, query + block, stored, candidate + block)
                                else:
                                    equal += equal_bytes_64(queries, query + block, stored, candidate + block)
                            if equal > best_equal or (equal == best_equal and best_slot >= 0 and slot < best_slot):
                                best_slot, best_equal = slot, equal
                place += 1
                if place == len(table_C):
                    place = 0
        if best_slot >= 0:
            matches_B[row] = doc_nos_S[best_slot]
            equal_B[row] = best_equal
            continue
        signatures_SP[num_slots] = signatures_BP[row]
        doc_nos_S[num_slots] = doc_nos_B[row]
        for band in range(num_bands):
            enter(table_C, make_entry(hashes[row & 1, band], num_slots))
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
def close_gaps(signatures_SP, doc_nos_S, num_slots):
    """Move the living together, in order; how many they are."""
    kept = 0
    for slot in range(num_slots):
        if doc_nos_S[slot] >= 0:
            if kept < slot:
                signatures_SP[kept] = signatures_SP[slot]
                doc_nos_S[kept] = doc_nos_S[slot]
            kept += 1
    return kept
