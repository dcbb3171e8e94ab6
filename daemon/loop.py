"""The life of a run: poll, process, commit, until the input ends or a stop is asked for.

Crash-only: an epoch that cannot be committed ends the process, and the next start continues from the last one. A
drain commits what was read and stops; it does not flush, so nothing that is held goes out before its time.

With an executor an epoch is committed there while the next is computed, which is handed over when that has succeeded
and not before: so epochs are committed in their order, and one that fails is the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from consumers.attempts import FATAL, Attempts
from consumers.broker import Broker, RawDocument, RawFeedback
from consumers.formats.undecodable import TOOK_PROCESS_DOWN
from consumers.trial import first_fatal, set_aside, set_feedback_aside
from curatord.errors import BrokerUnavailable, CuratordError, Undecodable
from daemon.config import DaemonConfig
from daemon.observer import Observer
from daemon.pipeline import Pipeline
from daemon.prepared.ahead import Ahead
from daemon.prepared.pool import Pool
from daemon.signals import POLL_S, Interrupted, StopRequest
from state.epoch import Epoch
from state.facts import RAW, single

MAX_FEEDBACK_RECORDS = 256  # between two polls for documents; each costs about as much as a few documents
BEHIND = 4  # an epoch may last this many times longer while there is a backlog, so that commits are fewer
BEAT_S = 5.0  # between heartbeats during long work
MAX_SINGLED_OUT = 2000  # rows for which a mark is waited for, each; beyond that a kill may be too fast for it

_TOUCHED = single("touched", RAW)

Item = TypeVar("Item", RawDocument, RawFeedback)


@contextmanager
def marked(attempts: Attempts) -> Iterator[None]:
    """Leave the mark of the rows at hand open if the life ends over them: not by a request, nor by an error of ours."""
    try:
        yield
    except (CuratordError, Interrupted):
        attempts.close()
        raise
    except Exception as error:
        attempts.died(error)
        raise
    attempts.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Calls out of the loop."""

    observer: Observer | None = None  # hears of every poll and commit
    keep_alive: Callable[[], None] = lambda: None  # in the middle of rows that take long
    # Hears why a commit failed, and waits a little; then it is tried again. Without, a failure ends the run.
    away: Callable[[BrokerUnavailable], None] | None = None
    # Hears source and position of a row that is not worked on any more, and how it ended a life.
    set_aside: Callable[[str, int, str], None] = lambda source, position, how: None
    pool: Pool | None = None  # where rows are prepared before they are decided; without, that is done as they are
    committing: Executor | None = None  # where epochs are committed, one at a time; without, the loop waits for each


class Loop:
    """One pipeline, one broker, epoch after epoch. `clock` counts seconds."""

    def __init__(
        self,
        pipeline: Pipeline,
        broker: Broker,
        config: DaemonConfig,
        identity: str,
        clock: Callable[[], float],
        hooks: Hooks = Hooks(),
    ) -> None:
        self._pipeline = pipeline
        self._broker = broker
        self._config = config
        self._identity = identity
        self._clock = clock
        self._hooks = hooks
        self._inbox: Broker | Ahead = broker
        if hooks.pool is not None:
            self._inbox = Ahead(broker, hooks.pool, config.poll_documents, hooks.set_aside)
        committed = broker.committed()
        self._epoch = Epoch(number=1 + (committed.epoch if committed else 0), identity=identity)
        self._handed_over: tuple[Epoch, Future[float]] | None = None  # with the seconds that its commit takes
        self._began = self._alive_at = clock()

    def run(self, stop: StopRequest, *, flush: bool, on_rows: Callable[[int], None] = lambda rows: None) -> bool:
        """To the end of the input, and flush there if asked to; False if it was stopped before.

        `on_rows` hears how many rows were processed.
        """
        while not self._inbox.ended():
            on_rows(self.step())
            if stop.requested:
                self.commit()
                self.settle()
                return False
        if flush:
            self.flush()
        self.commit()
        self.settle()
        return True

    def step(self) -> int:
        """Poll once, and commit if it is time; the number of rows."""
        if self._handed_over is not None and self._handed_over[1].done():
            self.settle()
        self._pipeline.phases.enter("poll")
        wanted = min(self._config.poll_documents, self._config.epoch_documents - self._epoch.num_rows)
        rows = self._inbox.poll(wanted, min(self._config.epoch_s, POLL_S))
        self._alive_at = self._clock()
        if self._hooks.observer is not None:
            self._hooks.observer.polled(rows)
        if rows and self._broker.attempts.deaths >= FATAL:
            self._process_suspects(rows)
        else:
            self._pipeline.process(rows, self._epoch, self._stay_alive)
        self._learn_from(self._broker.feedback(MAX_FEEDBACK_RECORDS))
        patience_s = self._config.epoch_s * (BEHIND if len(rows) >= wanted else 1)
        # The end comes after all sequences of its epoch, so no row may follow it there.
        is_due = self._clock() - self._began >= patience_s or self._epoch.end is not None
        if is_due or self._epoch.num_rows >= self._config.epoch_documents:
            self.commit()
        return len(rows)

    def _process_suspects(self, rows: Sequence[RawDocument]) -> None:
        """Rows over which lives ended: first those that end a copy of this process are set aside, then one by one."""
        self.settle()  # a copy of this process must not be in the middle of a commit
        for row in rows:
            if isinstance(row.value, Undecodable) and row.value.reason == TOOK_PROCESS_DOWN:
                self._hooks.set_aside(row.source, row.position, str(row.value))  # its message could not be decoded
        trusted = self._tried(rows, lambda row: self._pipeline.try_out(row, self._epoch), set_aside)
        self._take_singly(trusted, lambda row: self._pipeline.process([row], self._epoch, self._stay_alive), set_aside)

    def _take_singly(
        self, items: Sequence[Item], work: Callable[[Item], None], put_aside: Callable[[Item, str], Item]
    ) -> None:
        """One by one, each written down before; an item that ended two lives so is set aside."""
        attempts = self._broker.attempts
        for item in items:
            place = (item.source, item.position, item.index if isinstance(item, RawDocument) else None)
            if attempts.ended_at(place) >= FATAL:
                item = self._condemn(item, attempts.ended or "killed", put_aside)
            attempts.single_out(place, wait=len(items) <= MAX_SINGLED_OUT)
            work(item)
        attempts.settle()

    def _learn_from(self, records: Sequence[RawFeedback]) -> None:
        """As for rows; but records of another number of ends come in the same poll, and are taken apart here."""
        pipeline = self._pipeline
        while records:
            num = self._broker.attempts.begin([(record.source, record.position) for record in records])
            taken, records = records[:num], records[num:]
            if self._broker.attempts.deaths < FATAL:
                pipeline.learn_from(taken, self._epoch)
                continue
            self.settle()
            trusted = self._tried(taken, lambda record: pipeline.try_feedback(record, self._epoch), set_feedback_aside)
            self._take_singly(trusted, lambda record: pipeline.learn_from([record], self._epoch), set_feedback_aside)

    def _tried(
        self, items: Sequence[Item], work: Callable[[Item], None], put_aside: Callable[[Item, str], Item]
    ) -> list[Item]:
        """The items, with those set aside that end a copy of this process."""
        trusted = list(items)
        condemned: set[int] = set()
        while (fatal := first_fatal(trusted, work, beat=self._stay_alive)) is not None:
            if fatal.index in condemned:  # it is not the item that ends it
                break
            condemned.add(fatal.index)
            trusted[fatal.index] = self._condemn(trusted[fatal.index], fatal.how, put_aside)
        return trusted

    def _condemn(self, item: Item, how: str, put_aside: Callable[[Item, str], Item]) -> Item:
        self._hooks.set_aside(item.source, item.position, how)
        return put_aside(item, how)

    def _stay_alive(self) -> None:
        """Heartbeat during long work, for the consumer group and the supervisor."""
        if self._clock() - self._alive_at < BEAT_S:
            return
        self._alive_at = self._clock()
        if self._hooks.observer is not None:
            self._hooks.observer.polled(())
        # An outage is told by the next poll or commit. Told here it would part what is decided from what is not.
        with suppress(BrokerUnavailable):
            self._hooks.keep_alive()

    def flush(self) -> None:
        """Emit everything held: documents in the order of a corpus in as many epochs as it takes, the rest in one."""
        given = 0
        while num := self._pipeline.give_out(self._epoch):
            given += num
            if given >= self._config.epoch_documents:
                self.commit()
                given = 0
        self._pipeline.flush(self._epoch)

    def touch(self) -> None:
        """Commit an empty epoch, so that the offset that marks the last one does not expire."""
        _TOUCHED.put(self._epoch, None, b"")
        self.commit()

    def commit(self) -> None:
        """Hand the open epoch over to be committed, if anything changed, and open the next."""
        self._epoch.positions |= self._inbox.passed()
        self._pipeline.gather(self._epoch)
        self._pipeline.phases.enter("commit")
        if not self._epoch.is_empty():
            self.settle()
            epoch, committing = self._epoch, self._hooks.committing
            self._broker.complete(epoch)
            self._epoch = Epoch(number=epoch.number + 1, identity=self._identity, preceding=epoch.facts)
            if committing is not None:
                self._handed_over = epoch, committing.submit(self._commit, epoch)
            else:
                self._committed(epoch, self._commit(epoch))
            self._pipeline.seal_if_due(self.settle)
        self._began = self._clock()

    def settle(self) -> None:
        """Wait for the epoch that was handed over. Raises if it could not be committed."""
        if self._handed_over is not None:
            epoch, future = self._handed_over
            self._handed_over = None
            self._committed(epoch, future.result())

    def _commit(self, epoch: Epoch) -> float:
        """Until it succeeds, or `away` gives up; how long it took. On any thread."""
        began = self._clock()
        while True:
            try:
                self._broker.commit(epoch)
                return self._clock() - began
            except BrokerUnavailable as error:
                if self._hooks.away is None:
                    raise
                self._hooks.away(error)

    def _committed(self, epoch: Epoch, commit_s: float) -> None:
        """Tell of a commit, and forget what only mattered before it."""
        self._epoch.preceding = {}
        if self._hooks.observer is not None:
            self._hooks.observer.committed(epoch, self._broker.last_commit, commit_s=commit_s)
        self._broker.attempts.committed(epoch.positions)

    @property
    def has_rows_ahead(self) -> bool:
        """Whether rows were polled that are not decided."""
        return isinstance(self._inbox, Ahead) and self._inbox.has_rows

    @property
    def epoch(self) -> Epoch:
        """The open epoch."""
        return self._epoch
