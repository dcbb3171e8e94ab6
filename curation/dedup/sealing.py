"""Sealing: the indices of all documents ever seen keep to a budget of memory, and restarts need not read all facts.

The newest documents stand in memory. When they are many, and everything is committed, they are sealed: their rows go to
runs on disk, and a *manifest* in the store, and in the store alone, says which files count and how many documents they
tell of. A restart opens those files and takes in the segments of the documents since. Files that no manifest names are
of a process that ended between the two, or of an older state; they are deleted. A manifest whose files are not there, as
after a restore from a snapshot, counts for nothing: the indices are made again from the segments.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from curation.dedup.exact import ExactDedup
from curation.dedup.key_index import IdIndex
from curation.dedup.near import NearDedup
from curation.dedup.retracted import Retracted
from curation.dedup.tier import Tier
from curatord.errors import StateError
from state.durable import sync
from state.facts import FactSource, packed, single
from state.store import Store, explain_storage

FOLDER: Final = "runs"  # in the folder of the state
MAX_HOT_DOCUMENTS: Final = 1 << 17  # a restart, and `explain`, read so many again at most
HOT_BYTES: Final = 900  # memory of a document that is not sealed, in all indices


class Manifest(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Fact: the files of the indices, and what they tell of."""

    documents: int  # all with a lower number
    survivors: int
    runs: dict[str, list[str]]  # kind -> files, oldest first


MANIFEST = single("runs", packed(Manifest))
_NOTHING = Manifest(documents=0, survivors=0, runs={})


def manifest_of(committed: FactSource) -> Manifest:
    """What was sealed."""
    return MANIFEST.get(committed, None) or _NOTHING


@dataclass(slots=True)
class Indices:
    """All that finds documents of before, within a budget of bytes."""

    ids: IdIndex
    exact: ExactDedup
    near: NearDedup
    retracted: Retracted
    memory: int
    max_hot_documents: int = MAX_HOT_DOCUMENTS
    sealed_documents: int = 0

    @property
    def hot_documents(self) -> int:
        """Documents in memory beyond which they are sealed."""
        return min(self.max_hot_documents, self.memory // 2 // HOT_BYTES)

    def _tiers(self) -> tuple[Tier, ...]:
        return self.ids.tier, self.exact.texts.tier, self.exact.urls.tier, self.near.survivors.tier

    def is_due(self, next_doc_no: int) -> bool:
        """Whether there are many documents in memory."""
        return next_doc_no - self.sealed_documents >= self.hot_documents

    def seal(self, store: Store, next_doc_no: int) -> None:
        """Everything in memory, all of which is committed, goes to disk. Raises `StorageError`."""
        folder = store.folder / FOLDER
        before = frozenset(name for names in manifest_of(store).runs.values() for name in names)
        try:
            folder.mkdir(exist_ok=True)
            for index in (self.ids, self.exact.texts, self.exact.urls):
                index.seal(folder, next_doc_no)
            self.near.survivors.seal(folder, next_doc_no)
            sync(folder)
        except OSError as error:
            raise explain_storage(error, folder) from error
        self.sealed_documents = next_doc_no
        self._hold()
        runs = {tier.kind: [run.path.name for run in tier.runs] for tier in self._tiers()}
        manifest = Manifest(documents=next_doc_no, survivors=self.near.survivors.num_rows, runs=runs)
        store.apply([(MANIFEST.family.name, MANIFEST.row(None), MANIFEST.value.encode(manifest))])
        self._clean(folder, manifest, before)

    def open(self, store: Store, retracted: NDArray[np.int64]) -> int:
        """What was sealed; how many documents that is. Those that follow must be taken in again."""
        self.retracted.add(retracted.tolist())
        manifest, folder = manifest_of(store), store.folder / FOLDER
        try:
            for tier in self._tiers()[:-1]:
                tier.open([folder / name for name in manifest.runs.get(tier.kind, [])])
            survivors, names = self.near.survivors, manifest.runs.get(self.near.survivors.tier.kind, [])
            survivors.open(folder, names, manifest.survivors, retracted)
        except StateError:
            for tier in self._tiers():
                tier.open([])
            self.near.survivors.open(folder, [], 0, retracted)
            manifest = _NOTHING
        if not store.read_only:
            self._clean(folder, manifest, frozenset())
        self.sealed_documents = manifest.documents
        self._hold()
        return manifest.documents

    def _hold(self) -> None:
        """Directories in memory, as far as the budget reaches beyond the documents that are not sealed."""
        left = self.memory - self.hot_documents * HOT_BYTES
        for tier in self._tiers():
            tier.hold(left)
            left -= tier.held_bytes

    def _clean(self, folder: Path, manifest: Manifest, before: frozenset[str]) -> None:
        """Delete the files that neither this manifest nor the one before names."""
        named = {name for names in manifest.runs.values() for name in names} | before
        with suppress(OSError):
            for path in folder.glob("*.run"):
                if path.name not in named:
                    path.unlink()

    def num_bytes(self) -> int:
        """Memory of all indices."""
        directories = sum(tier.held_bytes for tier in self._tiers())
        tables = self.ids.num_bytes() + self.exact.num_bytes() + self.near.num_bytes() + self.retracted.num_bytes()
        return directories + tables

    def wanted_bytes(self) -> int:
        """The budget with which all directories are in memory."""
        return self.hot_documents * HOT_BYTES + sum(tier.directory_bytes() for tier in self._tiers())
