"""The broker in memory, with faults: what tests and the simulator run the real pipeline over.

`World` is what outlives a process: topics, positions and the journal. `MemoryBroker` is one process's connection to
it; a `Crash` planned for one of its points ends that process as a kill would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain

from consumers.attempts import Attempts
from consumers.broker import CommitReport, JournalRecord, MessagePlace, RawDocument, RawFeedback
from consumers.formats.prepared import decode_message
from consumers.prepared import Coverage
from curatord.errors import JournalUnusable, StateError
from curatord.records import DeadLetter, Probe
from curatord.sequence import EndOfStream, PackedSequence
from state.epoch import Committed, Epoch, Holdout
from state.journal import apply_journalled
from state.store import Store

FEEDBACK_SOURCE = "feedback"
PREPARED_SOURCE = "prepared-0"
OFFSETS_OF_AN_EPOCH = 2  # a record, and the marker of its transaction, as on a topic


class Crash(BaseException):
    """The process was killed here. Not an Exception, so that nothing on the way catches it."""

    def __init__(self, epoch: int, point: CrashPoint) -> None:
        super().__init__(f"epoch {epoch}: {point.value}")
        self.epoch = epoch


class CrashPoint(Enum):
    """Where a process can die in a commit."""

    BEFORE_COMMIT = "computed, nothing sent"
    AFTER_COMMIT = "the world has it, the store does not"
    AFTER_APPLY = "the store has it too"


@dataclass(slots=True)
class World:
    """Everything outside the process."""

    documents: Sequence[RawDocument] = ()
    feedback: Sequence[tuple[int, bytes]] = ()  # messages, and how many rows are polled before they are there
    sequences: list[PackedSequence] = field(default_factory=list)
    ends: list[EndOfStream] = field(default_factory=list)
    holdouts: list[Holdout] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    journal: list[JournalRecord] = field(default_factory=list)  # with those that were cut, which no broker gives out
    journal_start: int = 0  # offset of the first record that was not cut
    num_read: int = 0  # committed place in `documents`
    num_heard: int = 0  # and in `feedback`
    # The end of a topic with records that no reader is given. Positions of `documents` may leave gaps for them.
    end: int = 0
    position: int = 0  # committed, in such a topic
    mark: bytes = b""  # of what is being worked on
    # Messages of workers that prepared the documents, which are then read from here; and the identity of preparing.
    prepared: Sequence[bytes] = ()
    prepared_with: str = ""
    prepared_start: int = 0  # the first of them that retention left
    prepared_safe: int = 0  # and the first that it does not reach for long


class MemoryBroker:
    """A connection to a `World`. `crashes` maps an epoch to the point at which the process dies."""

    def __init__(self, world: World, store: Store, crashes: dict[int, CrashPoint] | None = None) -> None:
        self._world = world
        self._store = store
        self._crashes = dict(crashes or {})
        self._next = world.num_read
        self._next_feedback = world.num_heard
        self._next_message = world.prepared_start  # which rows are new, their positions say
        self._coverage = Coverage(lambda source: world.documents[self._next - 1].position + 1 if self._next else None)
        self._rows: list[RawDocument] = []  # that no poll has given out yet
        self.attempts = Attempts(self._keep, world.mark)

    def _keep(self, mark: bytes, *, wait: bool) -> None:
        self._world.mark = mark

    last_commit = CommitReport()

    def join(self) -> None:
        """One process at a time owns the lane without asking."""

    def keep_alive(self) -> None:
        """There is no group to leave."""

    def lag(self) -> dict[str, int]:
        """Not known."""
        return {}

    def prepared_message(self, source: str, offset: int) -> bytes:
        """One that retention left."""
        if offset < self._world.prepared_start:
            raise StateError(f"{source}@{offset} is gone: {source} begins at {self._world.prepared_start}")
        return self._world.prepared[offset]

    def retained_places(self, sources: Sequence[str]) -> dict[str, tuple[int, int]]:
        """As the world has it."""
        return dict.fromkeys(sources, (self._world.prepared_start, self._world.prepared_safe))

    def retained_from(self, generation: int, next_seq_no: int) -> int | None:
        """Nothing is cut."""
        return None

    def poll(self, max_rows: int, timeout_s: float) -> list[RawDocument]:
        """The next rows."""
        if not self._world.prepared:
            self._rows = list(self._world.documents[self._next : self._next + max_rows])
        while len(self._rows) < max_rows and self._next_message < len(self._world.prepared):
            value, at = self._world.prepared[self._next_message], MessagePlace(PREPARED_SOURCE, self._next_message)
            message = decode_message(value, self._world.prepared_with, "a message", at=at)
            self._next_message += 1
            self._rows += self._coverage.take(message, self._world.documents[0].source, "a message")
        num = self.attempts.begin([(row.source, row.position) for row in self._rows])
        rows, self._rows = self._rows[:num], self._rows[num:]
        self._next += num
        return rows

    def feedback(self, max_records: int) -> list[RawFeedback]:
        """The next messages that the rows polled so far have brought."""
        messages = []
        for num_rows, value in self._world.feedback[self._next_feedback : self._next_feedback + max_records]:
            if num_rows > self._next:
                break
            messages.append(RawFeedback(FEEDBACK_SOURCE, self._next_feedback, value))
            self._next_feedback += 1
        return messages

    def passed(self) -> dict[str, int]:
        """In a topic with an end: the next row, or that end, where gaps lie before it."""
        rest = self._world.documents[self._next : self._next + 1]
        position = rest[0].position if rest else self._world.end
        after = self._world.documents[self._next - 1].position + 1 if self._next else 0
        is_behind = self._world.end and position > max(after, self._world.position)
        return {self._world.documents[0].source: position} if is_behind else {}

    def ended(self) -> bool:
        """All rows were polled."""
        if self._world.prepared:
            return not self._rows and self._next_message == len(self._world.prepared)
        return self._next >= len(self._world.documents)

    def complete(self, epoch: Epoch) -> None:
        """Nothing: the world counts by itself."""

    def commit(self, epoch: Epoch) -> None:
        """One assignment after another, with the planned deaths between them."""
        committed = self.committed()
        last = 0 if committed is None else committed.epoch
        if epoch.number != last + 1:
            raise StateError(f"epoch {epoch.number} does not follow epoch {last}")
        self._die(epoch, CrashPoint.BEFORE_COMMIT)
        self._world.sequences += chain.from_iterable(epoch.sequences)
        self._world.ends += [] if epoch.end is None else [epoch.end]
        self._world.holdouts += chain.from_iterable(epoch.holdouts)
        self._world.dead_letters += epoch.dead_letters
        self._world.probes += epoch.probes
        self._world.num_read += epoch.num_rows
        if self._world.end:
            self._world.position = epoch.positions.get(self._world.documents[0].source, self._world.position)
        self._world.num_heard = epoch.positions.get(FEEDBACK_SOURCE, self._world.num_heard)
        next_offset = OFFSETS_OF_AN_EPOCH + (0 if committed is None else committed.journal_end)
        self._world.journal.append(
            JournalRecord(
                epoch=epoch.number,
                identity=epoch.identity,
                changes=tuple(epoch.journal_changes()),
                next_offset=next_offset,
            )
        )
        self._die(epoch, CrashPoint.AFTER_COMMIT)
        apply_journalled(self._store, epoch.changes(), next_offset)
        self._die(epoch, CrashPoint.AFTER_APPLY)

    def _die(self, epoch: Epoch, point: CrashPoint) -> None:
        if self._crashes.get(epoch.number) is point:
            raise Crash(epoch.number, point)

    def committed(self) -> Committed | None:
        """The end of the journal."""
        if not self._world.journal:
            return None
        last = self._world.journal[-1]
        return Committed(epoch=last.epoch, identity=last.identity, journal_end=last.next_offset)

    def take_over(self) -> Committed | None:
        """One process at a time."""
        return self.committed()

    def journal(self, *, from_offset: int, follow: bool) -> Iterator[JournalRecord | None]:
        """The records from an offset on."""
        start = self._world.journal_start
        if from_offset < start:
            raise JournalUnusable(f"the journal begins at offset {start}, and is to be read on at {from_offset}")
        yield from (record for record in self._world.journal if record.next_offset > from_offset)

    def cut_journal(self, *, before_offset: int) -> None:
        """Records before the offset stay in the world, but no broker gives them out."""
        self._world.journal_start = max(self._world.journal_start, before_offset)
