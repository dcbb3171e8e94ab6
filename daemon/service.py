"""`curatord run`: the pipeline as a service, crash-only.

connect ─ join ─ stand by (follow the journal) ─ take over (fence the owner before) ─ catch up ─ restore ─ loop
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import closing, nullcontext, suppress
from pathlib import Path

from consumers.broker import Lane, LaneBroker
from consumers.kafka.broker import KafkaBroker
from consumers.kafka.clients import check_lane_rights
from consumers.kafka.outputs import open_outputs
from curatord.errors import BrokerUnavailable, CorruptSequence, StorageError
from daemon.app import build, check_identity, encode_identity
from daemon.config import NO_VECTORS, Config, check_endless, load_config
from daemon.loop import Hooks, Loop, marked
from daemon.observer import Observer, check_config, observed
from daemon.pipeline import Pipeline
from daemon.prepared.identity import prepared_identity
from daemon.prepared.pool import Pool, opened_pool
from daemon.restore import catch_up, epoch_of, explained, open_state, restore_journalled, snapshots_of, stand_by
from daemon.signals import Interrupted, StopRequest
from daemon.stages.deciding_options import differences
from ops.events import Events
from packing.tokenizer import Tokenizer, open_tokenizer
from state.epoch import Committed
from state.store import Store

LAG_INTERVAL_S = 5.0
HEADROOM_INTERVAL_S = 60.0
MAX_WAIT_FOR_BROKER_S = 5.0
# A client of kafka-python that found no broker leaves a thread and sockets behind; then a new process is better.
MAX_ATTEMPTS = 50
# The offset of a topic that the group does not subscribe, which the marker is, expires with time, in days.
TOUCH_S = 3600.0
FREE_CHECK_S = 0.2
RETRY_S = 0.5  # between two attempts of a commit that failed at once


def run_service(config_path: Path | None) -> int:
    """Run until a stop is asked for; the exit code."""
    config = load_config(config_path)
    check_endless(config)
    with observed(config) as events, StopRequest(config.daemon.drain_timeout_s).installed() as stop:
        if not config.makes_vectors:
            events.makes_no_vectors(NO_VECTORS)
        tokenizer = open_tokenizer(config.tokenizer)
        store = open_state(config, events)
        try:
            broker = connect(config, tokenizer, store, events, stop)
            if broker is None:
                return 0
            try:
                # What the journal holds comes first: with a trained student the teacher need not be loaded.
                with explained(config, store):
                    restore_journalled(broker, broker.committed(), store, events, stop)
                pipeline: Pipeline = build(
                    config,
                    store,
                    tokenizer,
                    progress=lambda done, total: tell_training(broker, events, pipeline, done, total),
                )
                with closing(pipeline):
                    Service(broker, pipeline, store, config, events, config_path).serve(stop)
            except Interrupted:
                events.draining(signal.Signals(stop.signal_number).name)
            finally:
                broker.close()
        finally:
            store.close()
    return 0


def open_broker(config: Config, tokenizer: Tokenizer, store: Store) -> KafkaBroker:
    """A member of the cluster. Raises `BrokerUnavailable`, or `ConfigError` if topics or rights are missing."""
    check_lane_rights(config.kafka, config.topics)
    outputs = open_outputs(
        config.kafka,
        config.topics,
        config.packing,
        tokenizer_digest=tokenizer.digest,
        vocabulary_size=tokenizer.vocabulary_size,
    )
    identity = encode_identity(config, tokenizer)
    prepared_with = prepared_identity(config, tokenizer)
    return KafkaBroker(config.kafka, config.topics, config.input, outputs, store, identity, prepared_with)


def connect(
    config: Config, tokenizer: Tokenizer, store: Store, events: Events, stop: StopRequest
) -> KafkaBroker | None:
    """A member of the cluster that may ask for the lane; None if stopped before a broker was reachable.

    Raises `IdentityError` if the lane belongs to another configuration, `ConfigError` if topics are missing,
    `BrokerUnavailable` after many attempts.
    """
    attempt = 0
    while not stop.requested:
        try:
            broker = open_broker(config, tokenizer, store)
            committed = broker.committed()
        except BrokerUnavailable as error:
            events.broker_away(str(error))
            attempt += 1
            if attempt == MAX_ATTEMPTS:
                raise
            stop.wait(min(0.25 * 2**attempt, MAX_WAIT_FOR_BROKER_S))
            continue
        events.broker_back()
        if committed is not None:
            check_identity(config, tokenizer, committed, f"lane {config.kafka.lane}")
        return broker
    return None


def tell_training(lane: Lane, events: Events, pipeline: Pipeline, done: int, total: int) -> None:
    """Heartbeat while the teacher embeds: for the consumer group, the supervisor and people."""
    events.beat()
    if not pipeline.compose.embedder.stores_vectors:  # else it embeds every document
        events.training(done, total, version=pipeline.compose.embedder.version)
    with suppress(BrokerUnavailable):  # as in the middle of any rows: the next poll or commit tells of it
        lane.keep_alive()


class Service:
    """One process's time in the lane: as a standby, then as its owner. `clock` counts seconds."""

    def __init__(
        self,
        broker: LaneBroker,
        pipeline: Pipeline,
        store: Store,
        config: Config,
        events: Events,
        config_path: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker = broker
        self._pipeline = pipeline
        self._store = store
        self._config = config
        self._events = events
        self._config_path = config_path
        self._clock = clock
        self._snapshots = snapshots_of(config)
        self._snapshot_at = clock()
        if self._snapshots is not None:
            self._snapshot_at += self._snapshots.due_in(config.state.snapshot_interval_s)
        self._measured_at = -LAG_INTERVAL_S
        self._headroom_at = self._places_at = -HEADROOM_INTERVAL_S
        self._is_away = False
        self._num_waiting = 0  # messages, when it was measured last

    def serve(self, stop: StopRequest) -> None:
        """Until a stop was asked for, and everything is committed. Raises if this process must not go on."""
        self._pipeline.load(self._store, self._events.beat)
        self._pipeline.compile()
        self._broker.join()
        with explained(self._config, self._store):
            stand_by(self._broker, self._store, self._pipeline, self._events, stop, lambda: self._tend(stop))
        if stop.requested:
            self._events.draining(signal.Signals(stop.signal_number).name)
            return
        config, tokenizer = self._config, self._pipeline.decide.prepare.tokenizer
        with nullcontext() if config.topics.prepared else opened_pool(config, tokenizer) as pool:
            loop = self._take_over(stop, pool)
            with marked(self._broker.attempts):
                self._work(loop, stop)
                self._events.draining(signal.Signals(stop.signal_number).name)
                if not self._is_away:
                    loop.commit()

    def _take_over(self, stop: StopRequest, pool: Pool | None) -> Loop:
        """Become the owner, and come to where the one before was. Raises `Interrupted` on a request to stop there."""

        def tend() -> None:
            self._tend(stop)
            stop.check()

        began = self._clock()
        committed = self._fence(stop)
        at = epoch_of(self._store)
        end = at if committed is None else committed.epoch
        self._events.became_owner(end)
        if committed is not None:
            check_identity(
                self._config, self._pipeline.decide.prepare.tokenizer, committed, f"lane {self._config.kafka.lane}"
            )
        with explained(self._config, self._store):
            for record in catch_up(self._broker, committed, self._store, tend):
                self._pipeline.follow(record.changes, self._store)
                self._events.restoring(record.epoch - at, end - at)
        self._pipeline.restore(self._store, self._broker.prepared_message)
        self._events.restored(epoch_of(self._store), self._clock() - began)
        differing = differences(self._store, self._config)
        if differing:
            self._events.options_differ([str(difference) for difference in differing])
        attempts = self._broker.attempts
        if attempts.cut_short:
            self._events.life_cut_short(
                sources=sorted({stretch.source for stretch in attempts.cut_short}),
                ends=1 + max(stretch.deaths for stretch in attempts.cut_short),
                ended=attempts.ended,
            )
        return Loop(
            self._pipeline,
            self._broker,
            self._config.daemon,
            encode_identity(self._config, self._pipeline.decide.prepare.tokenizer),
            self._clock,
            Hooks(
                observer=Observer(self._events, self._pipeline, state_dir=self._store.folder),
                keep_alive=self._broker.keep_alive,
                away=lambda error: self._wait_for_broker(error, stop),
                set_aside=self._events.set_aside,
                pool=pool,
            ),
        )

    def _fence(self, stop: StopRequest) -> Committed | None:
        """Become the one process that may commit; outages are waited for."""
        while True:
            try:
                return self._broker.take_over()
            except BrokerUnavailable as error:
                self._wait_for_broker(error, stop)
                self._broker.keep_alive()

    def _wait_for_broker(self, error: BrokerUnavailable, stop: StopRequest) -> None:
        """A little, before the next attempt. Raises `Interrupted` on a request to stop: the open epoch is given up."""
        self._events.broker_away(str(error))
        stop.wait(RETRY_S)
        self._tend(stop)
        stop.check()

    def _work(self, loop: Loop, stop: StopRequest) -> None:
        """The owner's life."""
        idle_since = touched_at = self._clock()
        flushed = False
        num_stuck = 0  # messages that wait, and do not come
        while not stop.requested:
            self._tend(stop)
            self._measure_lag()
            if self._is_away:
                stop.wait(FREE_CHECK_S)
                with suppress(BrokerUnavailable):
                    self._broker.keep_alive()  # who does not poll for minutes leaves the group
                continue
            self._measure_headroom()
            self._measure_places()
            try:
                num_rows = loop.step()
            except BrokerUnavailable as error:  # nothing was given out: the next poll goes on there
                self._wait_for_broker(error, stop)
                continue
            if num_rows or loop.has_rows_ahead:
                idle_since, flushed, num_stuck = self._clock(), False, 0
                touched_at = idle_since
            elif self._clock() - touched_at >= TOUCH_S:
                loop.touch()
                touched_at = self._clock()
            elif not flushed and self._clock() - idle_since >= self._config.output.max_wait_s:
                self._measure_lag(at_once=True)
                if self._is_away or self._num_waiting != num_stuck:  # an outage is no end of the input
                    idle_since, num_stuck = self._clock(), self._num_waiting
                    continue
                sequences = self._pipeline.ledger.sequences
                loop.flush()
                loop.commit()
                flushed = True
                self._events.idle_flushed(
                    idle_s=self._clock() - idle_since, sequences=self._pipeline.ledger.sequences - sequences
                )
            self._take_snapshot()

    def _measure_lag(self, *, at_once: bool = False) -> None:
        """Now and then; it is also how this process learns whether the cluster is there, outside of transactions."""
        if not at_once and self._clock() - self._measured_at < LAG_INTERVAL_S:
            return
        self._measured_at = self._clock()
        try:
            lag = self._broker.lag()
        except BrokerUnavailable as error:
            self._is_away = True
            self._events.broker_away(str(error))
        else:
            self._is_away, self._num_waiting = False, sum(lag.values())
            self._events.lag_measured(lag)
            self._events.broker_back()

    def _measure_headroom(self) -> None:
        """Now and then: are the sequences retained that training runs may go back to? Not known during an outage."""
        if self._clock() - self._headroom_at < HEADROOM_INTERVAL_S:
            return
        self._headroom_at = self._clock()
        packer = self._pipeline.compose.packer
        oldest = self._pipeline.feedback.safe_points.oldest(packer.generation)
        try:
            first = None if oldest is None else self._broker.retained_from(packer.generation, packer.num_given_out)
        except (BrokerUnavailable, CorruptSequence) as error:
            self._events.headroom_unknown(str(error))
            return
        if oldest is None or first is None:
            self._events.headroom_unneeded()
        else:
            self._events.headroom_measured(run_id=oldest.run_id, safe_seq_no=oldest.safe_seq_no, retained_from=first)

    def _measure_places(self) -> None:
        """Now and then: what retention of prepared messages reaches before long goes into the journal."""
        if self._clock() - self._places_at < HEADROOM_INTERVAL_S:
            return
        self._places_at = self._clock()
        try:
            headroom = self._pipeline.held.pin_unsafe(self._broker.retained_places)
        except BrokerUnavailable as error:
            self._events.headroom_unknown(str(error))
        else:
            self._events.places_measured(headroom)

    def _take_snapshot(self) -> None:
        """Begin one when it is time, and cut the journal behind those that are finished."""
        if self._snapshots is None:
            return
        finished = self._snapshots.finished()
        if isinstance(finished, StorageError):
            self._events.snapshot_failed(str(finished))
        elif finished is not None:
            epoch = finished.manifest.epoch
            self._events.snapshot_written(epoch=epoch, num_bytes=finished.num_bytes, seconds=finished.seconds)
            if finished.cut_before is not None:
                self._cut_journal(finished.cut_before, before_epoch=epoch)
        if self._clock() >= self._snapshot_at:
            self._snapshot_at = self._clock() + self._config.state.snapshot_interval_s
            self._snapshots.begin(self._store)

    def _cut_journal(self, before_offset: int, *, before_epoch: int) -> None:
        """A cut that fails does no harm: the next snapshot tries again."""
        try:
            self._broker.cut_journal(before_offset=before_offset)
        except BrokerUnavailable as error:
            self._events.journal_not_cut(str(error))
        else:
            self._events.journal_truncated(before_epoch=before_epoch, before_offset=before_offset)

    def _tend(self, stop: StopRequest) -> None:
        """Housekeeping common to owner and standby."""
        self._events.beat()
        if stop.take_hangup():
            check_config(self._config, self._config_path, self._events)
