"""Identify: which document a row is. Redeliveries end here; new versions and retractions cut the rows into runs.

A run is a stretch of new documents that the stages may take at once. Where an id comes with another text, or is
retracted, the documents before it are decided first, then the old version is taken back, then the rest goes on: the
result is that of taking the documents one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from consumers.formats.documents import Arrivals, Documents
from curation.batch import Batch
from curation.dedup.exact import Keys, fingerprint
from curation.dedup.hash_index import hash_keys
from curation.dedup.key_index import IdIndex
from curatord.records import DeadLetter, Retraction
from daemon.prepared.columns import Prepared
from state.common_facts import TOMBSTONES
from state.epoch import Epoch
from state.fact_table import FactOwner, FactTable, Table
from state.ledger import Ledger
from state.outcomes import Reason, Stage
from state.segments import Segment, Segments


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """B new documents in the order of their ordinals, or one retraction and no document."""

    batch: Batch
    documents: Documents  # the same, as they were read
    id_keys_B2: NDArray[np.uint64]
    keys: Keys
    prepared: Prepared | None  # their numbers, where they came with them
    withheld_B: NDArray[np.bool_]  # retracted before they came
    replaced: int  # doc_no of the version that the first document replaces, or -1
    retraction: Retraction | None
    next_ordinal: int  # after the last row that this run accounts for

    def rows(self, batch: Batch) -> NDArray[np.int64]:
        """Where the documents of a batch that is left of it stand."""
        return batch.doc_nos_B - int(self.batch.doc_nos_B[0])


class _Version(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The newest version of an id."""

    doc_no: int
    text_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Poll:
    """The documents of one poll, with all that is looked up once, so that a run costs no more than its own rows."""

    arrivals: Arrivals
    prepared: Prepared | None
    batch: Batch  # doc_nos are given later
    id_keys_B2: NDArray[np.uint64]
    keys: Keys
    id_keys: list[bytes]  # the same as bytes
    text_keys: list[bytes]
    known: list[int]  # doc_no of each id when the poll began, or -1
    versions: dict[bytes, _Version | None]  # id key -> its newest version since then; None once it was retracted

    def is_one_run(self) -> bool:
        """Every row is a document whose id comes for the first time."""
        is_new = max(self.known, default=-1) < 0 and len(set(self.id_keys)) == len(self.id_keys)
        return is_new and not self.arrivals.others


def id_keys(ids: Sequence[str]) -> NDArray[np.uint64]:
    """Hashes of document ids, [B, 2]. The first half is also the source of a document's randomness."""
    return hash_keys([doc_id.encode("utf-8", "surrogatepass") for doc_id in ids])


def _as_bytes(keys_B2: NDArray[np.uint64]) -> list[bytes]:
    """Each key as 16 bytes."""
    keys: list[bytes] = keys_B2.view("V16").ravel().tolist()
    return keys


def _gather(arrivals: Arrivals, prepared: Prepared | None, known_ids: IdIndex) -> _Poll:
    documents = arrivals.documents
    batch = Batch(
        ordinals_B=arrivals.first_ordinal + arrivals.places_B,
        doc_nos_B=np.full(len(documents), -1, np.int64),
        ids=documents.ids,
        texts=documents.texts,
        sources=documents.sources,
        languages=documents.languages,
    )
    keys = fingerprint(batch.texts, documents.urls) if prepared is None else prepared.keys
    id_keys_B2 = id_keys(batch.ids)
    return _Poll(
        arrivals=arrivals,
        prepared=prepared,
        batch=batch,
        id_keys_B2=id_keys_B2,
        keys=keys,
        id_keys=_as_bytes(id_keys_B2),
        text_keys=_as_bytes(keys.texts_B2),
        known=known_ids.find(id_keys_B2).tolist(),
        versions={},
    )


class Identify(FactOwner):
    """All ids seen and not retracted, and the tombstones of those that were."""

    def __init__(self, ledger: Ledger, segments: Segments, ids: IdIndex) -> None:
        self._ledger = ledger
        self._segments = segments
        self._ids = ids
        self._tombstones = FactTable(TOMBSTONES)
        self.next_doc_no = 0

    def tables(self) -> tuple[Table, ...]:
        """The tombstones."""
        return (self._tombstones,)

    def runs(self, arrivals: Arrivals, prepared: Prepared | None, epoch: Epoch) -> Iterator[Run]:
        """Cut rows into runs. Each must be decided, and noted here, before the next is asked for."""
        poll = _gather(arrivals, prepared, self._ids)
        place = row = 0
        if len(arrivals) and not self._tombstones and poll.is_one_run():
            yield self._run(poll, None, len(arrivals))
            return
        while place < len(arrivals):
            value = arrivals.others.get(place)
            if isinstance(value, Retraction):
                self._ledger.count("retraction", 1, 0)
                poll.versions[id_keys([value.id]).tobytes()] = None
                place += 1
                yield self._run(poll, [], place, retraction=value)
                continue
            place, row, rows, replaced = self._extend(poll, place, row, epoch)
            yield self._run(poll, rows, place, replaced=replaced)

    def _extend(self, poll: _Poll, place: int, row: int, epoch: Epoch) -> tuple[int, int, list[int], int]:
        """Take arrivals until one needs something taken back first: (next place, next row, rows taken, replaced)."""
        first, rows, replaced = place, list[int](), -1
        while place < len(poll.arrivals):
            other = poll.arrivals.others.get(place)
            if isinstance(other, Retraction):
                break
            if other is not None:
                self._bury(other, poll.arrivals.num_bytes(place), epoch)
                place += 1
                continue
            id_key, text_key = poll.id_keys[row], poll.text_keys[row]
            earlier = self._earlier(poll, row, epoch)
            if earlier is not None and earlier.text_key != text_key:
                # The old version may be in a tick that ends with the rows before, be they documents or not.
                if place > first:
                    break
                replaced = earlier.doc_no
            if earlier is not None and earlier.text_key == text_key:
                texts = poll.batch.texts
                self._ledger.count("redelivered", 1, int(texts.ends_B[row] - texts.starts_B[row]))
            else:
                if not self._is_withheld(id_key, poll.arrivals.documents, row):
                    poll.versions[id_key] = _Version(doc_no=self.next_doc_no + len(rows), text_key=text_key)
                rows.append(row)
            place, row = place + 1, row + 1
        return place, row, rows, replaced

    def _earlier(self, poll: _Poll, row: int, epoch: Epoch) -> _Version | None:
        """The version of a row's id that counts before it."""
        id_key, doc_no = poll.id_keys[row], poll.known[row]
        if id_key in poll.versions:
            return poll.versions[id_key]
        return _Version(doc_no=doc_no, text_key=self._segments.text_key(doc_no, epoch)) if doc_no >= 0 else None

    def _bury(self, letter: DeadLetter, num_bytes: int, epoch: Epoch) -> None:
        epoch.dead_letters.append(letter)
        self._ledger.count("dead", 1, num_bytes)
        self._ledger.dead[letter.reason] = self._ledger.dead.get(letter.reason, 0) + 1

    def _run(
        self,
        poll: _Poll,
        rows: list[int] | None,
        next_place: int,
        *,
        replaced: int = -1,
        retraction: Retraction | None = None,
    ) -> Run:
        """The documents in these rows, or all of them."""
        batch, documents, id_keys_B2, keys = poll.batch, poll.arrivals.documents, poll.id_keys_B2, poll.keys
        prepared = poll.prepared
        if rows is not None:
            rows_B = np.array(rows, np.int64)
            batch, documents = batch.take(rows_B), documents.take(rows_B)
            id_keys_B2, keys = id_keys_B2[rows_B], keys.take(rows_B)
            prepared = None if prepared is None else prepared.take(rows_B)
        withheld_B = np.zeros(len(batch), np.bool_)
        if self._tombstones:
            withheld_B[:] = [self._is_withheld(key.tobytes(), documents, row) for row, key in enumerate(id_keys_B2)]
        return Run(
            batch=batch.numbered(self.next_doc_no),
            documents=documents,
            id_keys_B2=id_keys_B2,
            keys=keys,
            prepared=prepared,
            withheld_B=withheld_B,
            replaced=replaced,
            retraction=retraction,
            next_ordinal=poll.arrivals.first_ordinal + next_place,
        )

    def _is_withheld(self, id_key: bytes, documents: Documents, row: int) -> bool:
        """A retraction of this id is newer than the document.

        The times of the messages say so where there are any, and of two of the same millisecond the one that was read
        later is newer. Otherwise the document's own time does; one without any time counts as older.
        """
        retracted_at = self._tombstones.get(id_key)
        if retracted_at is None:
            return False
        if documents.sent_us_B[row]:
            return bool(documents.sent_us_B[row] < retracted_at)
        return bool(documents.written_us_B[row] <= retracted_at)

    def doc_no_of(self, doc_id: str) -> int:
        """The number of the document with this id; -1 if it was never read, or retracted."""
        return int(self._ids.find(id_keys([doc_id]))[0])

    def note(self, run: Run) -> None:
        """The run was decided: its ids are known from now on."""
        self._ids.note(run.id_keys_B2, run.batch.doc_nos_B, run.withheld_B)
        self.next_doc_no += len(run.batch)
        for key in run.id_keys_B2[~run.withheld_B] if self._tombstones else ():
            self._tombstones.pop(key.tobytes(), None)

    def forget(self, retraction: Retraction) -> int:
        """The id was retracted: its document's number, or -1. Older versions that still arrive are withheld."""
        key_12 = id_keys([retraction.id])
        doc_no = int(self._ids.find(key_12)[0])
        if doc_no >= 0:
            self._ids.drop(key_12, np.array([doc_no]))
        key = key_12.tobytes()
        self._tombstones[key] = max(retraction.timestamp_us, self._tombstones.get(key, 0))
        return doc_no

    def withdraw(self, segment: Segment, row: int) -> None:
        """A document of an earlier run was taken back: its id is free, unless a newer version has it already."""
        self._ids.drop(segment.keys("id_keys")[row : row + 1], np.array([segment.first + row]))

    def index(self, segment: Segment, alive_B: NDArray[np.bool_]) -> None:
        """Put the ids of a segment back; segments come oldest first, so the newest version stays."""
        withheld_B = segment.having(lambda stage, reason: (stage, reason) == (Stage.DOCUMENTS, Reason.RETRACTED))
        self._ids.note(segment.keys("id_keys"), segment.doc_nos(), withheld_B | ~alive_B)
        self.next_doc_no = segment.first + len(segment)
