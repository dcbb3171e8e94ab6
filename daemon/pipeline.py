"""The way of a document. Cheap before expensive, stateless before stateful.

    rows ─ runs ─ drop_duplicates ─ filter ─ drop_near_duplicates ─ hold_out ─ tokenize    decided when they are read
                                                                                  │
    sequences ─ emit ─ pack ─ balance ─ sample ─ assign ─ embed ─ tick ◂──────────┘        512 rows at a time

The first line is `Selection.decide`: it does not learn. The second is `Learning.advance`: all that it learns moves
between ticks, so where a batch or a commit ended leaves no trace in what comes out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from consumers.broker import RawDocument, RawFeedback
from consumers.formats.documents import Arrival, decode_rows
from curatord.records import DeadLetter, Document, Retraction
from curatord.sequence import EndOfStream
from daemon.stages.all_stages import Stages
from daemon.stages.compose import Learning
from daemon.stages.decide import Selection
from daemon.stages.deciding_options import DECIDED_WITH, deciding_options, with_options
from daemon.stages.feedback import FeedbackJoin
from daemon.stages.identify import Intake, Run
from kernels.columns import join_texts
from ops.memory import keep_objects
from state.common_facts import DEAD_LETTERS, NEXT_ORDINAL, RETRACTED, TICKED
from state.epoch import Change, Epoch
from state.fact_table import FactCell, FactOwner, Table, gather_changes, restore_stages
from state.facts import FactSource
from state.ledger import LEDGER
from state.outcomes import LaterReason
from state.segments import DOCUMENTS, Segment, read_segments
from state.store import Store
from state.tally import Tally

MAX_EXAMPLE_CHARACTERS = 300


class Pipeline(FactOwner):
    """All stages over one state; one epoch at a time, on one thread."""

    def __init__(self, stages: Stages) -> None:
        self.stages = stages
        self._intake = Intake(stages.ledger, stages.segments)
        self._selection = Selection(stages)
        self._learning = Learning(stages)
        self._feedback = FeedbackJoin(stages, self._intake.doc_no_of, self._end)
        self._ordinal = FactCell(NEXT_ORDINAL, 0)
        self._options = deciding_options(stages.config)
        self._decided_with = FactCell(DECIDED_WITH, [])
        self._ledger = FactCell(LEDGER, stages.ledger)
        self._is_loaded = False
        self._unticked: deque[Segment] = deque()  # of a restore: they may hold documents that no tick has taken

    def tables(self) -> tuple[Table, ...]:
        """What goes with every epoch, and makes none by itself."""
        return self._ledger, self._ordinal, self._decided_with

    def _stages(self) -> tuple[FactOwner, ...]:
        """All that own facts."""
        stages = self.stages
        return (
            *(self._intake, self._selection, self._learning),
            *(stages.near_dedup.guard, stages.held, stages.retraining, stages.clusters, stages.bandit),
            *(stages.rewards, stages.safe_points, stages.mixture, stages.packer, stages.verdict_rows, stages.examples),
        )

    @property
    def _next_ordinal(self) -> int:
        return self._ordinal.value

    def compile(self) -> None:
        """Call what looks at every document once, so that compiling is not taken for slow documents.

        What is there by then stays for good: the garbage collector need not look at it again.
        """
        texts = join_texts(["a text", "ein Text für Ä"])
        stages = self.stages
        stages.quality.measure(texts, ("", ""))
        stages.near_dedup.sign(texts)
        stages.tokenizer.encode_batch(texts)
        keep_objects()

    def process(self, rows: Sequence[RawDocument], epoch: Epoch, beat: Callable[[], None] = lambda: None) -> None:
        """Take rows through all stages. What changes is in the epoch, and what comes out.

        `beat` is called all the time: one message may hold a million rows.
        """
        for run in self._decided(rows, epoch):
            beat()
            self._learning.advance(self._next_ordinal, run.next_ordinal, epoch, beat)
            self._ordinal.value = run.next_ordinal
            self.stages.phases.enter("identify")
        for row in rows:
            epoch.positions[row.source] = row.position + 1
        epoch.num_rows += len(rows)

    def _decided(self, rows: Sequence[RawDocument], epoch: Epoch) -> Iterator[Run]:
        """The runs of these rows, each when it is decided."""
        config = self.stages.config
        self.stages.phases.enter("decode")
        arrivals = decode_rows(rows, self._next_ordinal, config.input, config.dead_letters.max_bytes)
        _tally(arrivals, epoch)
        self._note_options(arrivals)
        self.stages.phases.enter("identify")
        for run in self._intake.runs(arrivals, epoch):
            if run.retraction is not None:
                self._take_back(self._intake.forget(run.retraction), LaterReason.RETRACTED, epoch)
            if run.replaced >= 0:
                self._tally_replaced(run, epoch)
                self._take_back(run.replaced, LaterReason.REPLACED, epoch)
            if len(run.batch):
                self._selection.decide(run, epoch)
                self._intake.note(run)
            yield run

    def try_out(self, row: RawDocument, epoch: Epoch) -> None:
        """Decide a row, and learn nothing, in a copy of the process: what learns may work on threads."""
        for run in self._decided([row], epoch):
            self._ordinal.value = run.next_ordinal

    def _tally_replaced(self, run: Run, epoch: Epoch) -> None:
        """Note a document that replaces one of another input."""
        segment, row = self.stages.segments.find(run.replaced, epoch)
        earlier = segment.inputs[segment.column("input_index", np.uint32)[row]]
        arrival = run.arrivals[0]
        if earlier != arrival.input:
            epoch.tallies[arrival.input].add(
                Tally(replaced=1, replaced_id=arrival.doc_id[:MAX_EXAMPLE_CHARACTERS], replaced_input=earlier)
            )

    def _note_options(self, arrivals: Sequence[Arrival]) -> None:
        """The options that these rows are decided with, where they are not those of the rows before."""
        if all(isinstance(arrival.value, Retraction) for arrival in arrivals):
            return
        self._decided_with.value = with_options(self._decided_with.value, self._options, self._next_ordinal)

    def learn_from(self, records: Sequence[RawFeedback], epoch: Epoch) -> None:
        """Take in what trainers and scorers said. The next tick learns it; an epoch with an end takes no more rows."""
        self.stages.phases.enter("feedback")
        self._feedback.learn_from(records, epoch)

    def try_feedback(self, record: RawFeedback, epoch: Epoch) -> None:
        """Take in a message in a copy of the process. An end that it asks for is not made: whoever makes it learns."""
        FeedbackJoin(self.stages, self._intake.doc_no_of, lambda epoch: None).learn_from([record], epoch)

    def flush(self, epoch: Epoch) -> None:
        """The input has ended, for now: everything that is held goes out as it is."""
        self.stages.verdict_rows.flush(epoch)
        if not len(self.stages.held) and not self._selection.num_held_out:
            return
        self._learning.flush(self._next_ordinal, epoch)
        self._selection.flush_holdout(epoch)
        self.stages.ledger.flushes += 1

    def _end(self, epoch: Epoch) -> None:
        """The stream is to end: everything that is held goes out, fillers complete the quantum, and no row is left.

        What comes later goes on with the number of the end.
        """
        self._learning.flush(self._next_ordinal, epoch, fill=True)
        self._selection.flush_holdout(epoch)
        epoch.end = EndOfStream(self.stages.packer.generation, self.stages.packer.num_given_out)
        self.stages.phases.enter("feedback")

    def _take_back(self, doc_no: int, reason: LaterReason, epoch: Epoch) -> None:
        """Remove a document from every index and buffer; what was emitted stays, and can be listed."""
        if doc_no < 0:
            return
        stages = self.stages
        segment, row = stages.segments.find(doc_no, epoch)
        self._selection.take_back(segment, row)
        stages.waiting.remove(doc_no)
        stages.mixture.remove(doc_no)
        stages.packer.remove(doc_no)
        stages.retraining.remove(doc_no)
        if doc_no in stages.held:
            stages.ledger.reject_later(reason, stages.held[doc_no].unemitted)
            stages.held.drop(doc_no)
        RETRACTED.put(epoch, doc_no, reason)
        stages.verdict_rows.take_back(segment, row, reason, epoch)
        stages.examples.remove(doc_no)

    def close(self, epoch: Epoch) -> None:
        """Gather what the stages changed into the epoch, which is then ready to be committed."""
        stages = self.stages
        stages.phases.enter("gather")
        stages.embedder.write(epoch)
        gather_changes(self._stages(), epoch)
        num_dead = stages.ledger.rows["dead"] + stages.rewards.counts.dead
        for number, letter in enumerate(epoch.dead_letters, num_dead - len(epoch.dead_letters)):
            DEAD_LETTERS.put(epoch, number, letter)
        if epoch.is_empty():
            return
        stages.ledger.check(stages.held.unemitted_tokens())
        gather_changes((self,), epoch)
        epoch.stamp()

    def load(self, store: Store, beat: Callable[[], None] = lambda: None) -> None:
        """Build what takes long, the indices, from the facts that there are. Everything else waits for `restore`.

        `beat` is called all the time.
        """
        ticked = TICKED.get(store, None) or 0
        retracted = read_retracted(store)
        for segment in read_segments(store):
            beat()
            self._index(segment, retracted)
            if segment.last_ordinal < ticked:
                self._unticked.clear()
        self._is_loaded = True

    def follow(self, changes: Iterable[Change], store: Store) -> None:
        """Another process committed an epoch, which the store has already: bring the indices along."""
        changes = tuple(changes)
        retracted = frozenset(doc_no for doc_no, _ in RETRACTED.changed(changes))
        nothing_open = Epoch(number=0, identity="")
        for doc_no in retracted:
            if doc_no < self._intake.next_doc_no:
                segment, row = self.stages.segments.find(doc_no, nothing_open)
                self._intake.take_back(segment, row)
                self._selection.take_back(segment, row)
        for _, added in DOCUMENTS.changed(changes):
            if added is not None:
                self._index(added, retracted)
        for _, ticked in TICKED.changed(changes):
            while ticked is not None and self._unticked and self._unticked[0].last_ordinal < ticked:
                self._unticked.popleft()

    def _index(self, segment: Segment, retracted: frozenset[int]) -> None:
        self._intake.index(segment, retracted)
        self._selection.index(segment, retracted)
        self._unticked.append(segment)

    def restore(self, store: Store) -> None:
        """Everything in memory from the facts, but for indices that `load` and `follow` brought this far."""
        if not self._is_loaded:
            self.load(store)
        stages = self.stages
        stages.embedder.restore(store)
        restore_stages((self, *self._stages()), store)
        retracted = read_retracted(store)
        for segment in self._unticked:
            self._learning.restore_waiting(segment, retracted)
        self._unticked.clear()
        self._learning.restore_holders()
        stages.ledger.check(stages.held.unemitted_tokens())

    def restored(self, committed: FactSource) -> None:
        """The ledger that all stages count in."""
        ledger, found = self.stages.ledger, self._ledger.value
        for field in ledger.__struct_fields__:
            setattr(ledger, field, getattr(found, field))
        self._ledger.value = ledger


def _tally(arrivals: Sequence[Arrival], epoch: Epoch) -> None:
    """Count rows, dead letters and lost ids of each input, with an example of each."""
    for arrival in arrivals:
        tally = epoch.tallies.get(arrival.input)
        if tally is None:
            tally = epoch.tallies[arrival.input] = Tally()
        tally.rows += 1
        value = arrival.value
        if isinstance(value, DeadLetter):
            place = arrival.position if arrival.index is None else f"{arrival.position}:{arrival.index}"
            letter = f"row {place}: {value.message[:MAX_EXAMPLE_CHARACTERS]}"
            tally.add(Tally(dead=1, reason=value.reason, letter=letter))
        elif isinstance(value, Document) and value.id_problem:
            tally.add(Tally(lost_ids=1, lost_id=f"row {arrival.position}: {value.id_problem}"))


def read_retracted(store: Store) -> frozenset[int]:
    """Numbers of the documents that were taken back."""
    return frozenset(RETRACTED.keys(store))
