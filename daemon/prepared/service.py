"""A worker's life: take its share of the documents, prepare it, send it on, say so to the group, until it is stopped.

    poll ─ decode and prepare ─ send ─ acknowledged? ─ commit the offsets

At least once, and with no state: after any failure the same documents are prepared again, here or elsewhere, and the
lane drops what it has. Documents over which two lives ended are tried in a copy of this process first, as in the lane.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from kafka.consumer.fetcher import ConsumerRecord

from consumers.attempts import FATAL
from consumers.broker import RawDocument
from consumers.formats.prepared import Covers, encode_message
from consumers.kafka.clients import check_lane_rights
from consumers.kafka.inbox import message_set_aside, rows_of_message
from consumers.kafka.positions import source_name
from consumers.kafka.prepare_again import prepare_again
from consumers.kafka.prepared_writer import PreparedWriter
from consumers.kafka.rights import check_rights_of_workers
from consumers.kafka.share import Mark, Portion, Share
from consumers.trial import Fatal, first_fatal, set_aside
from curatord.errors import BrokerUnavailable, ConfigError, CuratordError
from daemon.commands.screen import PATIENCE_S, show
from daemon.config import Config, load_config
from daemon.observer import check_config, observed
from daemon.prepared.preparer import Preparer, open_preparer
from daemon.signals import POLL_S, StopRequest
from daemon.work import RETRY_S, work_until_stopped
from ops.events import Events

PORTION_BYTES = 8 << 20  # of messages that become one: rows of a few bytes are prepared to many times as much


class Prepares(Protocol):
    """Rows to a batch of prepared ones."""

    def prepare(self, rows: Sequence[RawDocument]) -> Any:
        """A pyarrow.RecordBatch with a row for each of these, in their order."""


def run_worker(config_path: Path | None) -> int:
    """Prepare for the lane until a stop is asked for; the exit code.

    Raises `ConfigError` if topics or rights are missing, `StateError` where documents are missing.
    """
    config = _load(config_path)
    with observed(config) as events:
        preparer = open_preparer(config)
        preparer.prepare([])
        # Not before: until then there is nothing to be drained, and TERM ends the process at once.
        with StopRequest(config.daemon.drain_timeout_s).installed() as stop:
            while not stop.requested:
                try:
                    worker = _connect(config, preparer, events)
                except BrokerUnavailable as error:
                    events.broker_away(str(error))
                    stop.wait(RETRY_S)
                    continue
                worker.work(stop, config_path)
            events.draining(signal.Signals(stop.signal_number).name)
    return 0


def begin_again(config_path: Path | None) -> int:
    """Have everything prepared again that the lane has not decided; the exit code. Raises as `prepare_again`."""
    config = _load(config_path)
    for source, at in prepare_again(config.kafka.patient(PATIENCE_S), config.topics).items():
        show(f"{source} is prepared from {at:,} on")
    show("Start the lane and its workers: it passes over all that lies on the topic now")
    return 0


def _load(config_path: Path | None) -> Config:
    """A configuration with workers. Raises `ConfigError`."""
    config = load_config(config_path)
    if not config.topics.prepared:
        raise ConfigError(
            "topics.prepared is empty, so there is nowhere to send prepared documents: name a topic in [topics], have "
            "`curatord topics create` make it, and restart the lane, which reads it then"
        )
    return config


def _connect(config: Config, preparer: Preparer, events: Events) -> Worker:
    check_lane_rights(config.kafka, config.topics, check_rights_of_workers)
    writer = PreparedWriter(config.kafka, config.topics)
    return Worker(Share(config.kafka, config.topics.documents), writer, preparer, config, events)


class Worker:
    """One member of the group of workers."""

    def __init__(
        self, share: Share, writer: PreparedWriter, preparer: Prepares, config: Config, events: Events
    ) -> None:
        self._share, self._writer, self._preparer = share, writer, preparer
        self._config, self._events = config, events

    def work(self, stop: StopRequest, config_path: Path | None = None) -> None:
        """Until a stop is asked for. Raises where a restart repairs nothing."""
        check = partial(check_config, self._config, config_path, self._events)
        is_done = False
        try:
            work_until_stopped(self.step, self._share, stop, self._events, check_config=check)
            is_done = True
        except CuratordError:
            is_done = True
            raise
        finally:
            self._share.close(is_done=is_done)
            self._writer.close()

    def step(self) -> None:
        """Poll once, and take what came all the way. Raises `BrokerUnavailable`; then nothing of it counts."""
        for portion in self._share.poll(POLL_S, self._config.daemon.poll_documents):
            is_suspect = portion.left.lives >= FATAL
            for part in _cut(portion, singly=is_suspect):
                rows = self._tried(part) if is_suspect else self._decoded(part.messages)
                if not self._send(part, rows):
                    return  # the group moves on, and all is polled again

    def _decoded(self, messages: Sequence[ConsumerRecord]) -> list[RawDocument]:
        return [row for message in messages for row in rows_of_message(message, self._config.input)]

    def _tried(self, part: Portion) -> list[RawDocument]:
        """The rows of a message over which lives ended, or of one behind it, without those that end a process."""
        for message in part.messages:  # one at most
            if part.left.alone >= FATAL:
                return [self._condemn(message_set_aside(message, "killed"), "killed")]
            fatal = self._first_fatal([message], lambda item: self._decoded([item]))
            if fatal is not None:
                return [self._condemn(message_set_aside(message, fatal.how), fatal.how)]
        rows = self._decoded(part.messages)
        condemned: set[int] = set()
        while (fatal := self._first_fatal(rows, lambda row: self._preparer.prepare([row]))) is not None:
            if fatal.index in condemned:  # it is not the row that ends it
                break
            condemned.add(fatal.index)
            rows[fatal.index] = self._condemn(set_aside(rows[fatal.index], fatal.how), fatal.how)
        self._share.note({part.partition: Mark(part.left.lives + 1, part.left.alone + 1)})
        return rows

    def _first_fatal(self, items: Sequence[Any], work: Any) -> Fatal | None:
        return first_fatal(items, work, beat=self._events.beat)

    def _condemn(self, row: RawDocument, how: str) -> RawDocument:
        self._events.set_aside(row.source, row.position, how)
        return row

    def _send(self, part: Portion, rows: Sequence[RawDocument]) -> bool:
        """Prepare and send them, and move on; False if the group does not let this worker."""
        batch = self._preparer.prepare(rows)
        covers = Covers(source_name(part.partition), part.first, part.next)
        num_bytes = self._writer.send(part.partition.partition, encode_message(batch, covers), part.next)
        self._events.prepared(rows=len(rows), num_bytes=num_bytes)
        return self._share.commit({part.partition: part.next})


def _cut(portion: Portion, *, singly: bool) -> Iterator[Portion]:
    """A portion in parts that are prepared and sent together, message by message if need be."""
    first, left, num_bytes = portion.first, portion.left, 0
    messages: list[ConsumerRecord] = []

    def part(end: int) -> Portion:
        return Portion(partition=portion.partition, first=first, next=end, messages=messages, left=left)

    for message in portion.messages:
        messages.append(message)
        num_bytes += len(message.value or b"")
        if singly or num_bytes >= PORTION_BYTES:
            yield part(message.offset + 1)
            first, left, messages, num_bytes = message.offset + 1, Mark(), [], 0
    if messages or first < portion.next:
        yield part(portion.next)
