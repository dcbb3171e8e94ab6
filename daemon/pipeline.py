"""The way of a document, a verb a line: see `Pipeline.process`.

    rows ─ decode ─ identify ─ prepare ─ decide         when they are read; nothing of it learns
                                           │
    sequences ─ emit ─ compose ─ tick ◂────┘            512 rows at a time

All that is learned moves between ticks, so the end of a batch or of a commit leaves no trace in the output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.broker import PreparedRow, RawDocument, RawFeedback
from consumers.formats.documents import Arrivals, decode_rows
from consumers.formats.pages import ReadPage
from consumers.formats.prepared import batch_of_message
from curation.dedup.sealing import Indices
from curation.ticks import NONE_ACCEPTED, Accepted
from curatord.records import DeadLetter, Retraction
from curatord.sequence import EndOfStream
from daemon.config import Config
from daemon.pages import page_reader
from daemon.prepared.columns import Prepared, Reader, stretches
from daemon.stages.compose import Compose
from daemon.stages.decide import Decide
from daemon.stages.decided_with import DECIDED_WITH, DecidedWith, with_options
from daemon.stages.deciding_options import deciding_options
from daemon.stages.feedback import FeedbackJoin
from daemon.stages.identify import Identify, Run
from daemon.stages.ticks import Ticks
from kernels.columns import Ragged
from ops.memory import keep_freed_memory, keep_objects, return_freed_memory
from ops.phases import PhaseClock
from packing.emission import Emission
from packing.held import HeldDocuments
from packing.placements import index_placements
from state.common_facts import DEAD_LETTERS, NEXT_ORDINAL, RETRACTED, TICKED
from state.epoch import Change, Epoch
from state.fact_table import FactCell, FactOwner, Table, gather_changes, restore_stages
from state.facts import FactSource
from state.ledger import LEDGER, Ledger
from state.outcomes import LaterReason
from state.segments import DOCUMENTS, Segment, Segments, first_segment_after, read_segments
from state.store import Store
from state.tally import Tally

MAX_EXAMPLE_CHARACTERS = 300
MAX_MESSAGE_BYTES = 1 << 40  # it was bounded when it was read first


@dataclass(slots=True, kw_only=True)
class Pipeline(FactOwner):
    """All stages over one state; one epoch at a time, on one thread."""

    config: Config
    phases: PhaseClock
    ledger: Ledger
    segments: Segments
    indices: Indices
    held: HeldDocuments
    identify: Identify
    decide: Decide
    ticks: Ticks
    compose: Compose
    emission: Emission
    feedback: FeedbackJoin
    _ordinal: FactCell[int] = field(init=False)
    _decided_with: FactCell[list[DecidedWith]] = field(init=False)
    _stored_ledger: FactCell[Ledger] = field(init=False)
    _options: dict[str, str] = field(init=False)
    _reader: Reader = field(init=False)
    _read_page: ReadPage = field(init=False)
    _is_loaded: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._ordinal = FactCell(NEXT_ORDINAL, 0)
        self._decided_with = FactCell(DECIDED_WITH, [])
        self._stored_ledger = FactCell(LEDGER, self.ledger)
        self._options = deciding_options(self.config)
        self._read_page = page_reader(self.config.input)
        self._reader = Reader(self.decide.prepare.quality, self.decide.prepare.tokenizer)

    def tables(self) -> tuple[Table, ...]:
        """Facts that go with every epoch, and make none by themselves."""
        return self._stored_ledger, self._ordinal, self._decided_with

    def _owners(self) -> tuple[FactOwner, ...]:
        """All that own facts."""
        return (
            *(self.identify, self.ticks, self.held, self.feedback.safe_points, self.feedback.scored),
            *self.decide.owners(),
            *self.compose.owners(),
        )

    def process(self, rows: Sequence[RawDocument], epoch: Epoch, beat: Callable[[], None] = lambda: None) -> None:
        """Take rows the whole way. The epoch gets the sequences that come out, and all that changes.

        `beat` is called all the time: one message may hold a million rows.
        """
        for run in self._runs(rows, epoch):
            beat()
            accepted = self._decide(run, epoch)
            self.ticks.waiting.add(accepted)
            for tick in self._completed(run.next_ordinal, beat):
                self._emit(tick, epoch)
            self._ordinal.value = run.next_ordinal
            self.phases.enter("identify")
        for row in rows:
            epoch.positions[row.source] = row.position + 1
        epoch.num_rows += len(rows)

    def _runs(self, rows: Sequence[RawDocument], epoch: Epoch) -> Iterator[Run]:
        """Rows as runs of new documents; what a run replaces or retracts is gone before it is decided."""
        for stretch in stretches(rows):
            self.phases.enter("decode")
            arrivals, prepared = self._decode(stretch)
            _tally(arrivals, epoch)
            self._note_options(arrivals)
            self.phases.enter("identify")
            for run in self.identify.runs(arrivals, prepared, epoch):
                if run.retraction is not None:
                    self._withdraw(self.identify.forget(run.retraction), LaterReason.RETRACTED, epoch)
                if run.replaced >= 0:
                    self._tally_replaced(run, epoch)
                    self._withdraw(run.replaced, LaterReason.REPLACED, epoch)
                yield run

    def _decode(self, stretch: Sequence[RawDocument]) -> tuple[Arrivals, Prepared | None]:
        """Rows that were prepared together, or of which none is."""
        if isinstance(stretch[0].value, PreparedRow):
            return self._reader.read(stretch, self._ordinal.value)
        max_dead_letter_bytes = self.config.dead_letters.max_bytes
        arrivals = decode_rows(stretch, self._ordinal.value, self.config.input, max_dead_letter_bytes, self._read_page)
        return self.decide.prepare.arrivals(arrivals), None

    def _decide(self, run: Run, epoch: Epoch) -> Accepted:
        if not len(run.batch):
            return NONE_ACCEPTED
        accepted = self.decide.decide(run, epoch)
        self.identify.note(run)
        return accepted

    def _completed(self, next_ordinal: int, beat: Callable[[], None]) -> Iterator[Accepted]:
        """The ticks that the input completes when it comes to this ordinal."""

        def is_warm(waiting: Accepted) -> bool:
            beat()
            return self.compose.warm_up(waiting, self.config.embedding.warmup_documents)

        return self.ticks.complete(self._ordinal.value, next_ordinal, is_warm)

    def _emit(self, tick: Accepted, epoch: Epoch) -> None:
        composed = self.compose.compose(tick, epoch)
        self.phases.enter("emit")
        self.emission.emit(composed.rows, epoch)
        self.compose.release(composed)

    def _flush(self, epoch: Epoch, *, fill: bool) -> None:
        """Take the tick that is not complete, then close every row; with `fill` none stays for want of a quantum."""
        self._take_rest(epoch)
        self.emission.emit(self.compose.packer.flush(fill=fill), epoch)
        self.decide.hold_out.flush(epoch)

    def _take_rest(self, epoch: Epoch) -> None:
        if len(self.ticks.waiting):
            for tick in self.ticks.rest(self._ordinal.value, lambda waiting: self.compose.warm_up(waiting, 1)):
                self._emit(tick, epoch)

    def give_out(self, epoch: Epoch) -> int:
        """The input has ended: some of the documents that waited for that go out, in order; how many, 0 after all."""
        self._take_rest(epoch)
        self.compose.end_corpus()
        given = self.compose.give_out()
        if given is None:
            return 0
        doc_nos_B, rows = given
        self.phases.enter("emit")
        self.emission.emit(rows, epoch)
        self.held.let_go(doc_nos_B)
        return len(doc_nos_B)

    def compile(self) -> None:
        """Compile the kernels that every document goes through, so that the first are not taken for slow ones.

        All that exists by then stays for good: the garbage collector need not look at it again. What was freed goes
        back, and what is freed from now on is kept for the next batch.
        """
        self.decide.prepare.compile()
        keep_objects()
        return_freed_memory()
        keep_freed_memory()

    def try_out(self, row: RawDocument, epoch: Epoch) -> None:
        """Decide a row, and learn nothing, in a copy of the process: what learns may work on threads."""
        for run in self._runs([row], epoch):
            self._decide(run, epoch)
            self._ordinal.value = run.next_ordinal

    def _tally_replaced(self, run: Run, epoch: Epoch) -> None:
        """Note a document that replaces one of another input."""
        segment, row = self.segments.find(run.replaced, epoch)
        earlier = segment.inputs[segment.column("input_index", np.uint32)[row]]
        source, doc_id = run.documents.inputs[0], run.documents.ids[0]
        if earlier != source:
            epoch.tallies[source].add(
                Tally(replaced=1, replaced_id=doc_id[:MAX_EXAMPLE_CHARACTERS], replaced_input=earlier)
            )

    def _note_options(self, arrivals: Arrivals) -> None:
        """The options that these rows are decided with, where they are not those of the rows before."""
        if sum(isinstance(value, Retraction) for value in arrivals.others.values()) == len(arrivals):
            return
        self._decided_with.value = with_options(self._decided_with.value, self._options, self._ordinal.value)

    def learn_from(self, records: Sequence[RawFeedback], epoch: Epoch) -> None:
        """Take in feedback, which the next tick learns. An epoch in which the stream ended takes no more rows."""
        self.phases.enter("feedback")
        self.feedback.learn_from(records, epoch, self._end)

    def try_feedback(self, record: RawFeedback, epoch: Epoch) -> None:
        """Take in a message in a copy of the process. An end that it asks for is not made, since it learns."""
        self.feedback.learn_from([record], epoch, lambda epoch: None)

    def flush(self, epoch: Epoch) -> None:
        """The input has ended, for now: the open tick and all rows go out. Balance buffers keep their documents."""
        self.decide.record.verdict_rows.flush(epoch)
        if not len(self.held) and not len(self.decide.hold_out):
            return
        self._flush(epoch, fill=False)
        self.ledger.flushes += 1

    def _end(self, epoch: Epoch) -> None:
        """The stream is to end: everything that is held goes out, fillers complete the quantum, and no row is left.

        Later documents go on with the number of the end.
        """
        self._flush(epoch, fill=True)
        epoch.end = EndOfStream(self.compose.packer.generation, self.compose.packer.num_given_out)
        self.phases.enter("feedback")

    def _withdraw(self, doc_no: int, reason: LaterReason, epoch: Epoch) -> None:
        """Remove a document from every index and buffer; its emitted tokens stay, and can be listed."""
        if doc_no < 0:
            return
        segment, row = self.segments.find(doc_no, epoch)
        self.indices.retracted.add((doc_no,))
        self.decide.withdraw(segment, row)
        self.decide.passages.withdraw(doc_no, epoch)
        self.ticks.waiting.remove(doc_no)
        self.compose.mixture.remove(doc_no)
        self.compose.corpus_order.remove(doc_no)
        self.compose.packer.remove(doc_no)
        self.compose.retraining.remove(doc_no)
        if doc_no in self.held:
            self.ledger.reject_later(reason, self.held[doc_no].unemitted)
            self.held.drop(doc_no)
        RETRACTED.put(epoch, doc_no, reason)
        self.decide.record.verdict_rows.take_back(segment, row, reason, epoch)
        self.decide.record.examples.remove(doc_no)

    def gather(self, epoch: Epoch) -> None:
        """Gather everything that changed into the epoch, which is then ready to be committed."""
        self.phases.enter("gather")
        self.compose.embedder.write(epoch)
        gather_changes(self._owners(), epoch)
        num_dead = self.ledger.rows["dead"] + self.feedback.rewards.counts.dead
        for number, letter in enumerate(epoch.dead_letters, num_dead - len(epoch.dead_letters)):
            DEAD_LETTERS.put(epoch, number, letter)
        if epoch.is_empty():
            return
        self.ledger.check(self.held.unemitted_tokens())
        gather_changes((self,), epoch)
        epoch.stamp()

    def load(self, store: Store, beat: Callable[[], None] = lambda: None) -> None:
        """Build what takes long, the indices, from their files and the facts since; `restore` does the rest.

        `beat` is called all the time.
        """
        ticked = TICKED.get(store, None) or 0
        sealed = self.identify.next_doc_no = self.indices.open(np.fromiter(RETRACTED.keys(store), np.int64))
        for segment in read_segments(store, first_segment_after(store, ticked, sealed)):
            beat()
            self._index(segment, ticked)
            self.seal_if_due()
        index_placements(store)
        self._is_loaded = True

    def seal_if_due(self, settle: Callable[[], None] = lambda: None) -> None:
        """Move the indices to disk if they hold much in memory, and take the runs that were merged there.

        `settle` waits until everything is committed.
        """
        if self.indices.is_due(self.identify.next_doc_no):
            settle()
            self.indices.seal(self.identify.next_doc_no)
        elif self.indices.has_merged():
            settle()
            self.indices.take_merged()

    def follow(self, changes: Iterable[Change], store: Store) -> None:
        """Another process committed an epoch, which the store has already: bring the indices along."""
        changes = tuple(changes)
        retracted = [doc_no for doc_no, _ in RETRACTED.changed(changes)]
        self.indices.retracted.add(retracted)
        nothing_open = Epoch(number=0, identity="")
        for doc_no in retracted:
            if doc_no < self.identify.next_doc_no:
                segment, row = self.segments.find(doc_no, nothing_open)
                self.identify.withdraw(segment, row)
                self.decide.withdraw(segment, row)
        for _, added in DOCUMENTS.changed(changes):
            if added is not None:
                self._index(added, 0)
        for _, ticked in TICKED.changed(changes):
            if ticked is not None:
                self.ticks.follow(ticked)
        self.seal_if_due()

    def _index(self, segment: Segment, ticked: int) -> None:
        if segment.first >= self.indices.sealed_documents:
            alive_B = ~self.indices.retracted.among(segment.doc_nos())
            self.identify.index(segment, alive_B)
            self.decide.index(segment, alive_B)
        self.ticks.index(segment, ticked)

    def restore(self, store: Store, read_message: Callable[[str, int], bytes] | None = None) -> None:
        """Everything in memory from the facts, but for indices that `load` and `follow` brought this far.

        `read_message` gives the prepared message at an offset of a partition: held tokens may lie there.
        """
        if read_message is not None:
            self.held.read_placed = partial(self._read_placed, read_message)
        if not self._is_loaded:
            self.load(store)
        self.compose.embedder.restore(store)
        restore_stages((self, *self._owners()), store)
        self.ticks.restore_waiting(self.indices.retracted)
        self.compose.restore_holders(self.ticks.waiting.until())
        self.ledger.check(self.held.unemitted_tokens())

    def _read_placed(
        self, read_message: Callable[[str, int], bytes], source: str, offset: int, rows_B: NDArray[np.int64]
    ) -> tuple[list[str], Ragged[Any]]:
        raw = read_message(source, offset)
        batch = batch_of_message(raw, f"{source}@{offset}", max_bytes=MAX_MESSAGE_BYTES)
        return self._reader.read_placed(batch, rows_B)

    def restored(self, committed: FactSource) -> None:
        """The ledger that all stages count in."""
        found = self._stored_ledger.value
        for name in self.ledger.__struct_fields__:
            setattr(self.ledger, name, getattr(found, name))
        self._stored_ledger.value = self.ledger

    def close(self) -> None:
        """End all threads."""
        self.compose.retraining.close()


def _tally(arrivals: Arrivals, epoch: Epoch) -> None:
    """Count rows, dead letters and lost ids of each input, with an example of each."""
    for name, num_rows in Counter(row.source for row in arrivals.rows).items():
        epoch.tallies.setdefault(name, Tally()).rows += num_rows
    for value in arrivals.others.values():
        if isinstance(value, DeadLetter):
            place = value.position if value.index is None else f"{value.position}:{value.index}"
            letter = f"row {place}: {value.message[:MAX_EXAMPLE_CHARACTERS]}"
            epoch.tallies[value.source].add(Tally(dead=1, reason=value.reason, letter=letter))
    for at, problem in arrivals.id_problems.items():
        row = arrivals.rows[at]
        epoch.tallies[row.source].add(Tally(lost_ids=1, lost_id=f"row {row.position}: {problem}"))
