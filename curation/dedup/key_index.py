"""KeyIndex: which document has a key, the newest keys in memory, all others on disk.

A key on disk counts for as long as its document was not taken back, and until it is forgotten.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curation.dedup.hash_index import HashIndex, sorted_rows
from curation.dedup.manifest import IDS
from curation.dedup.merging import on_one_shelf
from curation.dedup.retracted import Retracted
from curation.dedup.tier import Tier
from kernels import sorted_rows as kernel

BYTES_OF_ROW = 16 + 8 + 1

Keys = NDArray[np.uint64]
Numbers = NDArray[np.int64]


class KeyIndex:
    """128-bit keys to numbers of documents, which only increase.

    `forget_after` is the age, in documents, from which a number counts no more; 0 for never.
    """

    def __init__(self, kind: str, retracted: Retracted, *, forget_after: int = 0) -> None:
        self.tier = Tier(kind, width=3)
        self._hot = HashIndex()
        self._retracted = retracted
        self._forget_after = forget_after

    def _oldest(self, doc_nos_B: Numbers) -> Numbers | None:
        """The oldest document that each may know of; None for all of them."""
        return np.maximum(doc_nos_B - self._forget_after, 0) if self._forget_after else None

    def _find_sealed(self, keys_B2: Keys, wanted_B: NDArray[np.bool_], oldest_B: Numbers | None) -> Numbers:
        found_B = np.empty(len(keys_B2), np.int64)
        if oldest_B is None:
            oldest_B = np.zeros(len(keys_B2), np.int64)
        kernel.find_newest(
            self.tier.columns_RC, np.ascontiguousarray(keys_B2), wanted_B, self._retracted.bits, oldest_B, found_B
        )
        self.tier.check()
        return found_B

    def find(self, keys_B2: Keys) -> Numbers:
        """Newest number of each key, -1 where there is none."""
        found_B = self._hot.find(keys_B2)
        if not self.tier.runs:
            return found_B
        return np.where(found_B < 0, self._find_sealed(keys_B2, found_B < 0, None), found_B)

    def find_or_insert(self, keys_B2: Keys, doc_nos_B: Numbers, wanted_B: NDArray[np.bool_]) -> Numbers:
        """In order: the number that a key already has, or -1 and it gets `doc_nos_B`. Unwanted rows are skipped."""
        oldest_B = self._oldest(doc_nos_B)
        if not self.tier.runs:
            return self._hot.find_or_insert(keys_B2, doc_nos_B, wanted_B, oldest_B)
        sealed_B = self._find_sealed(keys_B2, wanted_B, oldest_B)
        found_B = self._hot.find_or_insert(keys_B2, doc_nos_B, wanted_B & (sealed_B < 0), oldest_B)
        return np.maximum(found_B, sealed_B)

    def assign(self, keys_B2: Keys, doc_nos_B: Numbers) -> None:
        """Set the number of each key, replacing what was there."""
        self._hot.assign(keys_B2, doc_nos_B)

    def drop(self, keys_B2: Keys, doc_nos_B: Numbers) -> None:
        """Free the keys in memory that still belong to these documents; on disk the retraction says it."""
        self._hot.drop(keys_B2, doc_nos_B)

    def rows(self) -> NDArray[np.uint64]:
        """The rows of a seal."""
        return self._hot.rows()

    def seal(self, folder: Path, next_doc_no: int) -> None:
        """Everything in memory goes to disk, which must be committed."""
        oldest = max(0, next_doc_no - self._forget_after) if self._forget_after else 0
        self.tier.seal(on_one_shelf(self.rows()), folder, next_doc_no, oldest=oldest, gone_P=self._retracted.bits)
        self._hot.clear()

    def num_bytes(self) -> int:
        """Memory of the table."""
        return self._hot.num_bytes()


class IdIndex(KeyIndex):
    """Keys of ids. On disk are all documents that ever came under an id, for people who ask.

    One that was withheld has a row, too, by which it is found by people only.
    """

    def __init__(self, retracted: Retracted) -> None:
        super().__init__(IDS, retracted)
        self._rows: list[tuple[Keys, Numbers, NDArray[np.bool_]]] = []

    def note(self, keys_B2: Keys, doc_nos_B: Numbers, withheld_B: NDArray[np.bool_]) -> None:
        """Documents came under these ids; those that were not withheld are the newest of them."""
        known_B = ~withheld_B
        self.assign(keys_B2[known_B], doc_nos_B[known_B])
        self._rows.append((keys_B2, doc_nos_B, withheld_B))

    def rows(self) -> NDArray[np.uint64]:
        """All documents that came since the last seal."""
        parts = [np.zeros((0, 3), np.uint64)]
        for keys_B2, doc_nos_B, withheld_B in self._rows:
            numbers_B = doc_nos_B.astype(np.uint64) | withheld_B.astype(np.uint64) << np.uint64(kernel.WITHHELD)
            parts.append(np.concatenate((keys_B2, numbers_B[:, None]), axis=1))
        return sorted_rows(np.concatenate(parts))

    def seal(self, folder: Path, next_doc_no: int) -> None:
        """As above; nothing is ever left out."""
        self.tier.seal(on_one_shelf(self.rows()), folder, next_doc_no, oldest=0, gone_P=np.zeros(0, np.uint8))
        self._rows.clear()
        self._hot.clear()

    def num_bytes(self) -> int:
        """Memory of the table and of the rows to come."""
        return super().num_bytes() + BYTES_OF_ROW * sum(len(doc_nos_B) for _, doc_nos_B, _ in self._rows)
