"""Sealing: the indices of all documents ever seen keep to a budget of memory, and a start need not read all facts.

The newest documents stand in memory. When they are many, and everything is committed, they are sealed: their rows go
to runs on disk, and a *manifest* in the store, and in the store alone, says which files count and how many documents
they tell of. A restart opens those files and takes in the segments of the documents since. Files that no manifest names
are of a process that ended between the two, or of an older state; they are deleted. A manifest whose files are not
there, as after a restore from a snapshot, counts for nothing: the indices are made again from the segments.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from curation.dedup.exact import ExactDedup
from curation.dedup.key_index import IdIndex
from curation.dedup.manifest import FOLDER, MANIFEST, NOTHING_SEALED, Manifest, manifest_of
from curation.dedup.merging import MERGING, RUN
from curation.dedup.near import NearDedup
from curation.dedup.retracted import Retracted
from curation.dedup.tier import Tier
from curatord.errors import StateError
from ops.catalogue import Metric
from ops.readings import Gauges
from state.durable import sync
from state.store import Store, explain_storage

MAX_HOT_DOCUMENTS: Final = 1 << 17  # a restart, and `explain`, read so many again at most
HOT_BYTES: Final = 900  # memory of a document that is not sealed, in all indices


@dataclass(slots=True)
class Indices:
    """All that finds documents of before, within a budget of bytes."""

    store: Store
    ids: IdIndex
    exact: ExactDedup
    near: NearDedup
    retracted: Retracted
    memory: int
    sealed_documents: int = 0

    @property
    def hot_documents(self) -> int:
        """Documents in memory beyond which they are sealed."""
        return min(MAX_HOT_DOCUMENTS, self.memory // 2 // HOT_BYTES)

    def _tiers(self) -> tuple[Tier, ...]:
        return self.ids.tier, self.exact.texts.tier, self.exact.urls.tier, self.near.survivors.tier

    def is_due(self, next_doc_no: int) -> bool:
        """Whether there are many documents in memory."""
        return next_doc_no - self.sealed_documents >= self.hot_documents

    def seal(self, next_doc_no: int) -> None:
        """Everything in memory, all of which is committed, goes to disk. Raises `StorageError`."""
        folder = self.store.folder / FOLDER
        try:
            folder.mkdir(exist_ok=True)
            for index in (self.ids, self.exact.texts, self.exact.urls):
                index.seal(folder, next_doc_no)
            self.near.survivors.seal(folder, next_doc_no)
            sync(folder)
        except OSError as error:
            raise explain_storage(error, folder) from error
        self.sealed_documents = next_doc_no
        self._renew(folder)

    def has_merged(self) -> bool:
        """Whether there are merged runs to take."""
        return any(tier.has_merged() for tier in self._tiers())

    def take_merged(self) -> None:
        """Merged runs take the places of those that they came from. Raises `StateError`, `StorageError`."""
        folder = self.store.folder / FOLDER
        try:
            for tier in self._tiers():
                if tier.has_merged():
                    tier.take_merged()
            sync(folder)
        except OSError as error:
            raise explain_storage(error, folder) from error
        self._renew(folder)

    def _renew(self, folder: Path) -> None:
        """Tell of the files as they are now, and delete those that are not needed any more."""
        self._hold()
        before = manifest_of(self.store).names()
        runs = {tier.kind: [run.path.name for run in tier.runs] for tier in self._tiers()}
        manifest = Manifest(documents=self.sealed_documents, survivors=self.near.survivors.num_rows, runs=runs)
        self._tell(manifest)
        self._clean(folder, manifest, before)

    def _tell(self, manifest: Manifest) -> None:
        self.store.apply([(MANIFEST.family.name, MANIFEST.row(None), MANIFEST.value.encode(manifest))])

    def open(self, retracted: NDArray[np.int64]) -> int:
        """Go on with the files of the manifest; how many documents they tell of. Later ones must be taken in."""
        self.retracted.add(retracted.tolist())
        manifest, folder = manifest_of(self.store), self.store.folder / FOLDER
        try:
            for tier in self._tiers()[:-1]:
                tier.open(manifest.files(folder, tier.kind))
            survivors = self.near.survivors
            survivors.open(folder, manifest.files(folder, survivors.tier.kind), manifest.survivors, retracted)
        except StateError:
            for tier in self._tiers():
                tier.open([])
            self.near.survivors.open(folder, [], 0, retracted)
            manifest = NOTHING_SEALED
        if not self.store.read_only:
            if manifest != manifest_of(self.store):
                self._tell(manifest)
            self._clean(folder, manifest, frozenset())
            for path in folder.glob(f"*{MERGING}"):
                path.unlink(missing_ok=True)
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
        named = manifest.names() | before
        with suppress(OSError):
            for path in folder.glob(f"*{RUN}"):
                if path.name not in named:
                    path.unlink()

    def num_bytes(self) -> int:
        """Memory of all indices."""
        directories = sum(tier.held_bytes for tier in self._tiers())
        tables = self.ids.num_bytes() + self.exact.num_bytes() + self.near.num_bytes() + self.retracted.num_bytes()
        return directories + tables

    def measured(self) -> Gauges:
        """Memory of all indices, and the budget with which no directory would have to lie on disk alone."""
        whole = self.hot_documents * HOT_BYTES + sum(tier.directory_bytes() for tier in self._tiers())
        return {Metric.INDEX_BYTES: self.num_bytes(), Metric.INDEX_WANTED_BYTES: whole}
