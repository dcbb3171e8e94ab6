"""Matching with survivors: locality-sensitive hashing (Indyk and Motwani, 1998) with bounded work a document.

A document has a *tag* of 32 bits for each band of its MinHash signature (`kernels.minhash`), and a sketch by
which it is compared (`kernels.sketch`). Survivors with the same tag in the same band form a *bucket*: they, and
documents that come with that tag, are candidates of each other. Bands stand on as many *shelves* as tell nearly all of
them apart, a power of two: of tags that meet by chance 24 in 25 are of different bands.

*Bounded work.* Documents of one template share the tags of what the template says, all of them; what such a bucket
says of two of its members is nothing. So a bucket takes BUCKET survivors and no more, and a document is compared with
at most BUDGET candidates, those of the smallest buckets first: a true copy also shares what only its original says,
and that bucket has the two alone. A document costs at most BUCKET entries of its own for each of its tags, and BUDGET
sketches, at any number of survivors.

*Spare tags.* A document has more tags than the `num_bands` under which it is found. They are read in order until so
many buckets with room were met; a survivor goes into these. A document like no other reads its first tags and no
more. One of a template also reads spare tags in place of those that say what the template says: memory is the same,
and as many of its tags tell it from the others.

The tags under which a survivor is found, and their bands, are the fact that is kept. So what is found depends on the
living survivors and their tags alone, not on batches, on restarts, on the survivors that were dropped meanwhile, or on
where they stand.

*Two tiers.* The newest survivors stand in a table in memory (`kernels.lsh_table`), the others in runs on disk
(`kernels.sorted_rows`), whose directories know every tag that is there. Survivors are numbered by *rows*, in their
order, those on disk first. Three documents are under way at a time, so that memory is read ahead.

Cost and memory: docs/decisions/0019-near-duplicates-among-many.md, 0033-bounded-memory.md.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numba import njit, uint32, uint64
from numpy.typing import NDArray

from kernels.addresses import load_64, prefetch, prefetch_address
from kernels.lsh_table import home_of_tag, is_taken, leaf, make_entry, read_bucket
from kernels.sealed_survivors import first_row_not_before, is_sketch_whole, number_of
from kernels.sketch import compare
from kernels.sorted_rows import ROWS, are_whole, find_rows, is_set, prefetch_cell, prefetch_rests, shelved

BUCKET: Final = 32  # survivors that are found under one tag
BUDGET: Final = 64  # candidates that a document is compared with


class Hot(NamedTuple):
    """The newest survivors, in memory."""

    table_C: NDArray[np.uint64]
    sketches_SQ: NDArray[np.uint8]
    symbols_S: NDArray[np.uint32]
    doc_nos_S: NDArray[np.int64]  # of a dropped document: ~doc_no, which is negative


class Cold(NamedTuple):
    """All others, on disk but for the directories of the runs."""

    runs_RC: NDArray[np.int64]  # a row of a run is a tag in the upper half, the row of a survivor in the lower
    sketches_SQ: NDArray[np.uint8]
    survivors_S4: NDArray[np.uint32]  # document number, symbols, and two checksums: `kernels.sealed_survivors`
    gone_P: NDArray[np.uint8]  # bits, by row
    damaged_1: NDArray[np.int64]  # a row that is not as it was written; -1: none was met


class Documents(NamedTuple):
    """The documents of a batch."""

    doc_nos_B: NDArray[np.int64]
    sketches_BQ: NDArray[np.uint8]
    tags_BT: NDArray[np.uint32]
    symbols_B: NDArray[np.uint32]
    eligible_B: NDArray[np.bool_]


class Found(NamedTuple):
    """The match of each document of a batch."""

    doc_nos_B: NDArray[np.int64]  # the best survivor before it, the oldest of equals; -1 if none is near
    similarities_B: NDArray[np.float32]  # to it; 0 if none is near
    tags_BR: NDArray[np.uint32]  # of a new survivor: those under which it is found, then 0
    bands_BT: NDArray[np.bool_]  # of a new survivor: whether it is found under its tag of a band
    work_B: NDArray[np.int64]  # entries of table and runs, and sketches that were looked at


@leaf
def have_other_symbols(a, b):
    """Whether one of two documents has few words, which its lowest bit says, and the symbols differ."""
    return (a | b) & uint32(1) != uint32(0) and a >> uint32(1) != b >> uint32(1)


@leaf
def shelf_of(band, shelf_bits):
    """The shelf of a band."""
    return band & ((1 << shelf_bits) - 1)


@leaf
def value_of(tag, band, shelf_bits):
    """The value by which rows with a tag are found."""
    return shelved(uint64(tag) << uint64(32), shelf_of(band, shelf_bits), shelf_bits)


@leaf
def read_runs(cold, first_row, firsts_R, ends_R, bucket, rows, at, num_found):
    """Living survivors in rows [first, end) of each run go to `rows[at + num_found:]`: (number, rows looked at).

    The bucket has `num_found` of the table already.
    """
    steps = 0
    for run in range(len(firsts_R)):
        size = 8 * (ends_R[run] - firsts_R[run])
        if size and not are_whole(cold.runs_RC, run, cold.runs_RC[run, ROWS] + 8 * firsts_R[run], size):
            continue
        for place in range(firsts_R[run], ends_R[run]):
            row = np.int64(load_64(cold.runs_RC[run, ROWS] + 8 * place) & uint64(0xFFFFFFFF))
            steps += 1
            if num_found < bucket and row >= first_row and not is_set(cold.gone_P, row):
                rows[at + num_found] = row
                num_found += 1
    return num_found, steps


@leaf
def find_in_runs(cold, value, firsts_R, ends_R):
    """Where the rows with a value are in each run; they are asked for."""
    for run in range(len(firsts_R)):
        firsts_R[run], ends_R[run] = find_rows(cold.runs_RC, run, value)
        if ends_R[run] > firsts_R[run]:
            prefetch_address(cold.runs_RC[run, ROWS] + 8 * firsts_R[run])


@leaf
def look_ahead(documents, hot, cold, num_bands, shelf_bits, ahead):
    """Ask for what the documents after the next, and the next, will read first."""
    num_documents, num_runs = len(documents.doc_nos_B), len(cold.runs_RC)
    if ahead < num_documents and documents.eligible_B[ahead]:
        for run in range(num_runs):
            for band in range(num_bands):
                prefetch_cell(cold.runs_RC, run, value_of(documents.tags_BT[ahead, band], band, shelf_bits))
    row = ahead - 1
    if 0 <= row < num_documents and documents.eligible_B[row]:
        for band in range(num_bands):
            prefetch(hot.table_C, home_of_tag(documents.tags_BT[row, band], len(hot.table_C)))
        for run in range(num_runs):
            for band in range(num_bands):
                prefetch_rests(cold.runs_RC, run, value_of(documents.tags_BT[row, band], band, shelf_bits))


@njit(cache=True, nogil=True, boundscheck=False)
def match_and_insert(documents, min_similarity, forget_after, bucket, budget, shelf_bits, hot, cold, num_slots, found):
    """Match documents one after the other and insert those without a match; the new number of slots.

    Survivors that are more than `forget_after` documents older are none. The tags under which a new survivor is found,
    and their bands, go to `found.tags_BR` and `found.bands_BT`, which are 0 before.
    """
    doc_nos_B, tags_BT, symbols_B = documents.doc_nos_B, documents.tags_BT, documents.symbols_B
    num_bytes, num_tags, num_bands = documents.sketches_BQ.shape[1], tags_BT.shape[1], found.tags_BR.shape[1]
    num_cold, num_runs = len(cold.survivors_S4), len(cold.runs_RC)
    queries, stored = documents.sketches_BQ.reshape(-1), hot.sketches_SQ.reshape(-1)
    stored_cold = cold.sketches_SQ.reshape(-1)
    rows = np.empty(num_tags * bucket, np.int64)  # of each band in turn
    firsts_TR, ends_TR = np.zeros((num_tags, num_runs), np.int64), np.zeros((num_tags, num_runs), np.int64)
    counts_T, places_T = np.zeros(num_tags, np.int64), np.zeros(num_tags, np.int64)
    order_T = np.empty(num_tags, np.int64)
    candidates = np.empty(budget, np.int64)
    first_row = 0
    for ahead in range(len(doc_nos_B) + 2):
        look_ahead(documents, hot, cold, num_bands, shelf_bits, ahead)
        row = ahead - 2
        if row < 0 or not documents.eligible_B[row]:
            continue
        oldest = max(np.int64(0), doc_nos_B[row] - forget_after)
        if first_row == 0 and num_cold > 0 and number_of(cold.survivors_S4, 0, cold.damaged_1) < oldest:
            first_row = first_row_not_before(cold.survivors_S4, oldest, cold.damaged_1)
        while first_row < num_cold and number_of(cold.survivors_S4, first_row, cold.damaged_1) < oldest:
            first_row += 1
        for band in range(num_bands):
            value = value_of(tags_BT[row, band], band, shelf_bits)
            find_in_runs(cold, value, firsts_TR[band], ends_TR[band])
        work, num_buckets, num_read, num_with_room = 0, 0, 0, 0
        while num_read < num_tags and num_with_room < num_bands:
            band, tag = num_read, tags_BT[row, num_read]
            if band == num_bands:
                for spare in range(num_bands, num_tags):
                    prefetch(hot.table_C, home_of_tag(tags_BT[row, spare], len(hot.table_C)))
            if band >= num_bands:
                find_in_runs(cold, value_of(tag, band, shelf_bits), firsts_TR[band], ends_TR[band])
            shelf = shelf_of(band, shelf_bits)
            num_hot, places_T[band], steps = read_bucket(
                hot.table_C, hot.doc_nos_S, oldest, tag, shelf, bucket, rows, band * bucket
            )
            for i in range(band * bucket, band * bucket + num_hot):
                rows[i] += num_cold
            num_found, steps_cold = read_runs(
                cold, first_row, firsts_TR[band], ends_TR[band], bucket, rows, band * bucket, num_hot
            )
            counts_T[band] = num_found
            num_read += 1
            num_with_room += num_found < bucket
            work += steps + steps_cold
            if num_found > 0:
                # Sorted by size; of equals the first band comes first.
                place = num_buckets
                while place > 0 and counts_T[order_T[place - 1]] > num_found:
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
                candidate = rows[band * bucket + c]
                known = False
                for other in range(num_candidates):
                    known |= candidates[other] == candidate
                if not known:
                    candidates[num_candidates] = candidate
                    num_candidates += 1
                    if candidate < num_cold:
                        prefetch(stored_cold, candidate * num_bytes)
                    else:
                        prefetch(stored, (candidate - num_cold) * num_bytes)
        best, best_above, best_below = np.int64(-1), np.int64(0), np.int64(1)
        for i in range(num_candidates):
            candidate = candidates[i]
            slot = candidate - num_cold
            if slot < 0:
                if not is_sketch_whole(cold, candidate):
                    continue
                above, below = compare(
                    queries, row * num_bytes, stored_cold, candidate * num_bytes, num_bytes, min_similarity
                )
            else:
                above, below = compare(queries, row * num_bytes, stored, slot * num_bytes, num_bytes, min_similarity)
            if above >= min_similarity * below:
                symbols = cold.survivors_S4[candidate, 1] if slot < 0 else hot.symbols_S[slot]
                if have_other_symbols(symbols_B[row], symbols):
                    continue
                lead = above * best_below - best_above * below
                if best < 0 or lead > 0 or (lead == 0 and candidate < best):
                    best, best_above, best_below = candidate, above, below
        found.work_B[row] = work + num_candidates
        if best >= 0:
            is_cold = best < num_cold
            found.doc_nos_B[row] = np.int64(cold.survivors_S4[best, 0]) if is_cold else hot.doc_nos_S[best - num_cold]
            found.similarities_B[row] = best_above / best_below
            continue
        for j in range(num_bytes):
            stored[num_slots * num_bytes + j] = queries[row * num_bytes + j]
        hot.symbols_S[num_slots] = symbols_B[row]
        hot.doc_nos_S[num_slots] = doc_nos_B[row]
        num_kept = 0
        for band in range(num_read):
            is_full = counts_T[band] == bucket
            tag, shelf, place = tags_BT[row, band], shelf_of(band, shelf_bits), places_T[band]
            if not is_full and is_taken(hot.table_C, hot.doc_nos_S, oldest, place):
                # By another band of this document: look again.
                num_hot, place, _ = read_bucket(
                    hot.table_C, hot.doc_nos_S, oldest, tag, shelf, bucket, rows, band * bucket
                )
                num_found, _ = read_runs(
                    cold, first_row, firsts_TR[band], ends_TR[band], bucket, rows, band * bucket, num_hot
                )
                is_full = num_found == bucket
            if not is_full:
                hot.table_C[place] = make_entry(tag, shelf, num_slots)
                found.tags_BR[row, num_kept] = tag
                found.bands_BT[row, band] = True
                num_kept += 1
        num_slots += 1
    return num_slots
