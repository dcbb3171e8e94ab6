"""Identify: a row is a new document, a redelivery, a new version or a retraction, wherever a poll ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.dedup.key_index import IdIndex
from curation.dedup.retracted import Retracted
from curatord.errors import Undecodable
from curatord.records import Document, Retraction
from daemon.stages.identify import Identify, Run
from state.epoch import Epoch
from state.ledger import Ledger
from state.segments import DOCUMENTS, Segments, Verdicts
from state.store import Store
from tests.arrived import arrivals_of

Row = tuple[str, str]  # an id and a text; without a text a retraction
rows = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["one", "two", "three", ""])), max_size=14)


@dataclass
class Door:
    """Identify over a store, with runs recorded as the stages do."""

    store: Store
    ledger: Ledger = field(default_factory=Ledger)
    epoch: Epoch = field(default_factory=lambda: Epoch(number=1, identity=""))
    next_ordinal: int = 0

    def __post_init__(self) -> None:
        self.segments = Segments(self.store)
        self.intake = Identify(self.ledger, self.segments, IdIndex(Retracted()))

    def read(self, values: Sequence[Document | Retraction | Undecodable], made_us: int = 0) -> list[Run]:
        """One poll."""
        arrivals = arrivals_of(values, self.next_ordinal, made_us)
        self.next_ordinal += len(values)
        runs = []
        for run in self.intake.runs(arrivals, None, self.epoch):
            if run.retraction is not None:
                self.intake.forget(run.retraction)
            if len(run.batch):
                self._record(run)
                self.intake.note(run)
            runs.append(run)
        return runs

    def _record(self, run: Run) -> None:
        first = int(run.batch.doc_nos_B[0])
        segment = Verdicts(first, len(run.batch), ()).segment(
            ids=run.batch.ids,
            id_keys_B2=run.id_keys_B2,
            text_keys_B2=run.keys.texts_B2,
            url_keys_B2=run.keys.urls_B2,
            ordinals_B=run.batch.ordinals_B,
            inputs=run.documents.inputs,
            positions_B=run.documents.positions_B,
            sources=run.batch.sources,
            num_bytes_B=run.batch.texts.num_bytes(),
        )
        DOCUMENTS.put(self.epoch, first, segment)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("state"))
    yield store
    store.close()


def value(row: Row) -> Document | Retraction:
    """Documents are newer than all retractions, so none is withheld."""
    doc_id, text = row
    return Document(id=doc_id, text=text, timestamp_us=2) if text else Retraction(id=doc_id, timestamp_us=1)


def events_of(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    events: list[tuple[str, ...]] = []
    for run in runs:
        if run.retraction is not None:
            events.append(("retracted", run.retraction.id))
        for place, (doc_no, doc_id, text) in enumerate(
            zip(run.batch.doc_nos_B.tolist(), run.batch.ids, run.batch.texts, strict=True)
        ):
            replaced = run.replaced if place == 0 else -1
            events.append(("new", str(doc_no), doc_id, text, str(replaced)))
    return events


def one_by_one(rows: Sequence[Row]) -> tuple[list[tuple[str, ...]], int]:
    """The events, and the number of redeliveries, of a reader that keeps one dict."""
    events: list[tuple[str, ...]] = []
    newest: dict[str, tuple[int, str]] = {}
    next_doc_no = redelivered = 0
    for doc_id, text in rows:
        if not text:
            newest.pop(doc_id, None)
            events.append(("retracted", doc_id))
        elif newest.get(doc_id, (0, ""))[1] == text:
            redelivered += 1
        else:
            replaced = newest.get(doc_id, (-1, ""))[0]
            events.append(("new", str(next_doc_no), doc_id, text, str(replaced)))
            newest[doc_id] = (next_doc_no, text)
            next_doc_no += 1
    return events, redelivered


@given(rows, st.sets(st.integers(0, 14)))
def test_runs_are_what_a_reader_of_single_rows_sees(store: Store, rows: list[Row], cuts: set[int]) -> None:
    door = Door(store)
    bounds = [0, *sorted(cuts & set(range(len(rows)))), len(rows)]

    runs = [run for first, end in pairwise(bounds) for run in door.read([value(row) for row in rows[first:end]])]

    events, redelivered = one_by_one(rows)
    assert events_of(runs) == events
    assert door.ledger.rows["redelivered"] == redelivered
    assert door.ledger.rows["retraction"] == sum(not text for _, text in rows)
    # Every row is accounted for, by a run or as a redelivery, and ordinals only grow.
    ends = [run.next_ordinal for run in runs]
    assert ends == sorted(ends)
    assert all(end <= door.next_ordinal for end in ends)


def test_unreadable_rows_are_counted_by_reason_and_cut_no_run(store: Store) -> None:
    door = Door(store)
    documents = [Document(id=name, text=name) for name in "ab"]

    (run,) = door.read([documents[0], Undecodable("not_json", "cut off"), documents[1]])

    assert run.batch.ids == ("a", "b")
    assert run.next_ordinal == 3
    assert door.ledger.dead == {"not_json": 1}
    assert [(letter.position, letter.message) for letter in door.epoch.dead_letters] == [(1, "cut off")]


@pytest.mark.parametrize(
    ("made_us", "own_us", "withheld"),
    [(0, 0, True), (0, 5, True), (0, 6, False), (4, 9, True), (5, 0, False), (6, 0, False)],
)
def test_a_retraction_withholds_older_versions_by_the_messages_time_or_else_the_documents_own(
    store: Store, made_us: int, own_us: int, withheld: bool
) -> None:
    door = Door(store)
    door.read([Retraction(id="a", timestamp_us=5)])

    (run,) = door.read([Document(id="a", text="late", timestamp_us=own_us)], made_us)

    assert run.withheld_B.tolist() == [withheld]
    assert door.intake.doc_no_of("a") == (-1 if withheld else 0)


def test_ids_come_back_from_segments_the_newest_version_last(store: Store) -> None:
    door = Door(store)
    door.read([value(("a", "one")), value(("b", "one"))])
    door.read([value(("a", "two"))])
    again = Identify(Ledger(), door.segments, IdIndex(Retracted()))

    for number in range(2):
        segment, _ = door.segments.find(2 * number, door.epoch)
        again.index(segment, segment.doc_nos() != 1)

    assert [again.doc_no_of(doc_id) for doc_id in "abc"] == [2, -1, -1]
    assert again.next_doc_no == 3
