"""Reading ahead: a thread takes sequences from a source, decodes and checks them, and hands them over in order."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from curatord.errors import GenerationEnded, StreamError
from curatord.position import StreamState
from curatord.sequence import EndOfStream, PackedSequence
from curatord.source import Found, Plan, Source

log = logging.getLogger("curatord")

PUT_S = 0.1
WAIT_LOG_S = 30.0  # how often a wait for new sequences is logged
CHUNKS = 8  # that are read ahead


@dataclass(frozen=True, slots=True)
class Share:
    """The part of one loader worker: of its rank's batches, every `workers`-th."""

    worker: int = 0
    workers: int = 1
    batch_size: int = 1

    def takes(self, turn: int) -> bool:
        """Whether the rank's sequence number `turn`, from 0, is in it."""
        return turn // self.batch_size % self.workers == self.worker


def whole_rounds(source: Source, plan: Plan) -> Iterator[Found | None]:
    """Sequences that a rank can train on while all others have one each, too.

    Sequences of a quantum become visible together. Where a round of all ranks is not within one, a sequence is held
    back until the next one, or the end, shows that its round is complete: no rank may have one more than another.
    """
    held: Found | None = None
    end = 0  # of the round that is held back
    try:
        for item in source.read(plan):
            if isinstance(item, EndOfStream):
                if held is not None and end <= item.seq_no:
                    yield held
                return
            if item is None:
                yield None
                continue
            if held is not None:
                yield held
                held = None
            if plan.first % plan.world == 0 and item.quantum % plan.world == 0:
                yield item
            else:
                held, end = item, item.seq_no - (item.seq_no - plan.first) % plan.world + plan.world
    except GenerationEnded:
        if held is not None and end <= source.bounds(plan.generation).end:
            yield held
        raise


def without_skipped(found: Iterator[Found | None], state: StreamState, share: Share) -> Iterator[Found | None]:
    """Sequences that are neither to be skipped nor another worker's."""
    turn = 0
    for item in found:
        if item is None:
            yield None
        elif not state.leaves_out(item.seq_no):
            if share.takes(turn):
                yield item
            turn += 1


class Reader:
    """The thread, and the queue that it fills: sequences, some at a time, then None, or the error that ended it."""

    def __init__(
        self, found: Iterator[Found | None], check: Callable[[PackedSequence], PackedSequence], prefetch: int
    ) -> None:
        # A thread that wakes for every sequence would cost as much as decoding it.
        self._chunk = -(-prefetch // CHUNKS)
        self._items: queue.Queue[list[PackedSequence] | Exception | None] = queue.Queue(-(-prefetch // self._chunk))
        self._stopping = threading.Event()
        self._found, self._check = found, check
        self._thread = threading.Thread(target=self._run, name="curatord-stream", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        last: Exception | None = None
        chunk: list[PackedSequence] = []
        try:
            for item in self._found:
                if self._stopping.is_set():
                    return
                if item is not None:
                    chunk.append(self._check(item.load()))
                if chunk and (item is None or len(chunk) == self._chunk or self._items.empty()):
                    self._put(chunk)
                    chunk = []
        except Exception as error:  # `take` raises it
            last = error
        if chunk:
            self._put(chunk)
        self._put(last)

    def _put(self, item: list[PackedSequence] | Exception | None) -> None:
        while not self._stopping.is_set():
            try:
                return self._items.put(item, timeout=PUT_S)
            except queue.Full:
                continue

    def take(self, name_next: Callable[[], str]) -> list[PackedSequence]:
        """The next sequences; none at the end. A long wait for them is logged with their name.

        Raises the error that ended the thread.
        """
        while True:
            try:
                item = self._items.get(timeout=WAIT_LOG_S)
            except queue.Empty:
                log.warning("waiting for %s; `curatord finish` ends a topic, `curatord curate` a folder", name_next())
                continue
            if isinstance(item, Exception):
                raise item
            return item or []

    def stop(self) -> None:
        """End the thread, and a wait for it on another one. Sequences that it read ahead are forgotten."""
        self._stopping.set()
        self._thread.join()
        with suppress(queue.Full):  # then there is no wait
            self._items.put_nowait(StreamError("the stream was closed by another thread while this one waited"))
