"""Survivors: the documents that others are matched against, the newest in memory, the others on disk.

Matching is `kernels.lsh`; this is where survivors stand. Those in memory are sealed all at once: their entries become a
run of tags, their sketches go to the end of a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from curation.dedup.merging import Rows
from curation.dedup.survivor_files import SurvivorFiles
from curation.dedup.tier import Tier
from kernels import lsh, lsh_table, sealed_survivors
from kernels.growing import GrowingArray
from kernels.lsh import Cold, Documents, Found, Hot
from kernels.lsh_table import SLOT_BITS, SLOT_MASK

MAX_LOAD: Final = 0.7
TABLE_GROWTH: Final = 1.2
SLOTS_GROWTH: Final = 1 / 16
MIN_CAPACITY: Final = 1 << 12
MAX_DEAD_PARTS: Final = 8  # compacted when more than 1 / 8 of the slots is dead
NEVER: Final = 1 << 62  # documents until a survivor is forgotten
TAG_BITS: Final = 32


class Survivors:
    """Survivors by their tags, their sketches, (S, Q) uint8, and their document numbers, which only ever increase.

    A document comes with the tags of T bands, none of them 0, and is found under R = `num_bands` of them at most, 64 or
    fewer. `sketch_bytes`, Q, is a multiple of 64. Symbols are as `kernels.minhash.sign` gives them: where one of two
    documents has few words, the two match only with the same symbols.
    """

    def __init__(self, *, sketch_bytes: int, num_bands: int, forget_after: int = 0) -> None:
        self.num_bands = num_bands
        self._shelf_bits = (num_bands - 1).bit_length()
        self.num_slots = 0
        self.num_dead = 0
        self._forget_after = forget_after or NEVER
        self._newest = -1
        self._table = GrowingArray(np.uint64)
        self._table.grow(MIN_CAPACITY)
        self._sketches = GrowingArray(np.uint8, (sketch_bytes,))
        self._symbols = GrowingArray(np.uint32)
        self._doc_nos = GrowingArray(np.int64)  # of a dropped document: ~doc_no, which is negative
        self.tier = Tier("tags", width=1, value_bits=TAG_BITS + self._shelf_bits)
        self._files = SurvivorFiles(sketch_bytes)
        self._gone_P = np.zeros(0, np.uint8)  # of the rows on disk
        self._num_gone = 0

    def __len__(self) -> int:
        return self.num_slots - self.num_dead + self.num_rows - self._num_gone

    @property
    def num_rows(self) -> int:
        """Survivors on disk."""
        return len(self._files)

    def num_bytes(self) -> int:
        """Memory of table, sketches, symbols, document numbers and bits."""
        arrays = self._table, self._sketches, self._symbols, self._doc_nos
        return sum(array.values.nbytes for array in arrays) + self._gone_P.nbytes

    def match(self, documents: Documents, min_similarity: float) -> Found:
        """Of each document the best survivor before it; those without a match, if eligible, are survivors from then on.

        Of equally good ones the oldest is named. Raises `StateError` for files that are damaged, as all that read them.
        """
        doc_nos_B = documents.doc_nos_B
        self._check_increasing(doc_nos_B)
        self._reserve(len(doc_nos_B))
        found = Found(
            doc_nos_B=np.full(len(doc_nos_B), -1, np.int64),
            similarities_B=np.zeros(len(doc_nos_B), np.float32),
            tags_BR=np.zeros((len(doc_nos_B), self.num_bands), np.uint32),
            bands_BT=np.zeros(documents.tags_BT.shape, np.bool_),
            work_B=np.zeros(len(doc_nos_B), np.int64),
        )
        hot = Hot(self._table.values, self._sketches.values, self._symbols.values, self._doc_nos.values)
        files = self._files
        cold = Cold(self.tier.columns_RC, files.sketches, files.numbers, self._gone_P, files.damaged_1)
        limits = self._forget_after, lsh.BUCKET, lsh.BUDGET, self._shelf_bits
        self.num_slots = lsh.match_and_insert(documents, min_similarity, *limits, hot, cold, self.num_slots, found)
        self.tier.check()
        files.check()
        return found

    def insert(
        self,
        doc_nos_B: NDArray[np.int64],
        sketches_BQ: NDArray[np.uint8],
        tags_BR: NDArray[np.uint32],
        bands_BR: NDArray[np.integer],
        symbols_B: NDArray[np.uint32],
    ) -> None:
        """Survivors of an earlier time, put back without being matched into the bands that they stood in.

        `tags_BR` is 0 where a survivor has fewer.
        """
        self._check_increasing(doc_nos_B)
        self._reserve(len(doc_nos_B))
        first, self.num_slots = self.num_slots, self.num_slots + len(doc_nos_B)
        self._sketches.values[first : self.num_slots] = sketches_BQ
        self._symbols.values[first : self.num_slots] = symbols_B
        self._doc_nos.values[first : self.num_slots] = doc_nos_B
        shelves_BR = (bands_BR & ((1 << self._shelf_bits) - 1)).astype(np.uint8)
        lsh_table.enter_tags(self._table.values, np.ascontiguousarray(tags_BR), shelves_BR, first)

    def drop(self, doc_no: int) -> bool:
        """Free a survivor's place, so that later copies are new; whether it was one."""
        slot = lsh_table.find_slot(self._doc_nos.values, self.num_slots, doc_no)
        if slot < 0:
            return self.drop_sealed(np.array([doc_no])) > 0
        self._doc_nos.values[slot] = ~doc_no
        self.num_dead += 1
        return True

    def drop_sealed(self, doc_nos_B: NDArray[np.int64]) -> int:
        """Of these documents those on disk are survivors no more; how many they are."""
        files = self._files
        num_marked = int(sealed_survivors.mark_gone(files.numbers, doc_nos_B, self._gone_P, files.damaged_1))
        files.check()
        self._num_gone += num_marked
        return num_marked

    def seal(self, folder: Path, number: int) -> None:
        """Everything in memory goes to disk, which must be committed. `number` names the files."""
        if self.num_dead:
            self._compact()
        slots = slice(0, self.num_slots)
        words_N = np.empty(self.num_slots * self.num_bands, np.uint64)
        words_N = words_N[: lsh_table.entries_of(self._table.values, words_N)]
        words_N.sort()
        files, forgotten = self._files, self._newest - self._forget_after
        oldest = int(sealed_survivors.first_row_not_before(files.numbers, forgotten, files.damaged_1))
        files.check()
        self.tier.seal(self._rows_of(words_N), folder, number, oldest=oldest, gone_P=self._gone_P)
        survivors_S2 = np.stack((self._doc_nos.values[slots].astype(np.uint32), self._symbols.values[slots]), axis=1)
        files.append(folder, self._sketches.values[slots], survivors_S2)
        self._extend_gone()
        self._table.values.fill(0)
        self.num_slots = 0

    def _rows_of(self, words_N: NDArray[np.uint64]) -> Rows:
        """Rows of a run from sorted words of shelf, tag and slot."""
        shelves = np.arange((1 << self._shelf_bits) + 1, dtype=np.uint64)
        bounds_H = np.searchsorted(words_N, shelves << np.uint64(TAG_BITS + SLOT_BITS))
        tags_N, slots_N = words_N >> np.uint64(SLOT_BITS), words_N & np.uint64(SLOT_MASK)
        return Rows(((tags_N << np.uint64(32)) | (slots_N + np.uint64(self.num_rows)))[:, None], bounds_H)

    def open(self, folder: Path, runs: list[Path], num_rows: int, retracted: NDArray[np.int64]) -> None:
        """The survivors of a manifest. Raises `StateError` if they are not there as they were written."""
        self.tier.open(runs)
        self._files.open(folder, num_rows)
        if num_rows:
            self._newest = int(self._files.numbers[-1, 0])
        self._extend_gone()
        self.drop_sealed(retracted)

    def _extend_gone(self) -> None:
        gone_P = np.zeros(self.num_rows // 8 + 1, np.uint8)
        gone_P[: len(self._gone_P)] = self._gone_P
        self._gone_P = gone_P

    def _check_increasing(self, doc_nos_B: NDArray[np.int64]) -> None:
        if not len(doc_nos_B):
            return
        if doc_nos_B[0] <= self._newest or (np.diff(doc_nos_B) <= 0).any():
            raise ValueError(
                f"document numbers must increase: {doc_nos_B[0]} and the following come after {self._newest}"
            )
        self._newest = int(doc_nos_B[-1])

    def _reserve(self, num_new: int) -> None:
        """Room for `num_new` more survivors at the allowed load."""
        if self.num_dead * MAX_DEAD_PARTS > self.num_slots:
            self._compact()
        if self.num_slots + num_new > SLOT_MASK:
            raise OverflowError(f"one index holds at most {SLOT_MASK} documents in memory")
        capacity, needed = len(self._table.values), int((self.num_slots + num_new) * self.num_bands / MAX_LOAD) + 1
        if needed > capacity:
            self._table.grow(max(needed, int(capacity * TABLE_GROWTH)))
            lsh_table.spread(self._table.values, capacity)
        if self.num_slots + num_new > len(self._doc_nos.values):
            slots = self.num_slots + num_new
            slots += int(slots * SLOTS_GROWTH)
            for array in (self._sketches, self._symbols, self._doc_nos):
                array.grow(slots)

    def _compact(self) -> None:
        """Close the gaps of dropped documents: slots change, and with them the entries of the table."""
        new_slots_S = np.empty(self.num_slots, np.int64)
        self.num_slots = lsh_table.close_gaps(
            self._sketches.values, self._symbols.values, self._doc_nos.values, self.num_slots, new_slots_S
        )
        self.num_dead = 0
        lsh_table.renumber(self._table.values, new_slots_S)
        lsh_table.spread(self._table.values, len(self._table.values))
