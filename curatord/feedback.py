"""Feedback of a trainer: the losses of its steps, and how far back it may still go."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from curatord.no_loss import without_loss
from curatord.records import Feedback, encode_feedback
from curatord.sequence import NO_LOSS, PackedSequence

log = logging.getLogger("curatord")

# Records that may wait for the broker; a trainer that reports faster loses the newest.
MAX_WAITING = 1024
CLOSE_S = 5.0
MAX_SEGMENTS = (1 << 16) - 1  # of a sequence; a record counts them as u16


def segment_losses(
    losses_BL: NDArray[np.floating[Any]], batch: Sequence[PackedSequence], *, shifted: bool
) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Σ NLL and number of targets of every segment of a batch, one sequence after another.

    `losses_BL[b, t]` is the loss, in nats, with which token t of row b was predicted; with `shifted`, token t + 1. The
    first token of a segment is no target, nor is any without loss; what stands there, and behind the last token, is not
    looked at.
    Raises ValueError if there are not as many rows as sequences, or a row is too short.
    """
    if losses_BL.ndim != 2 or len(losses_BL) != len(batch):
        raise ValueError(f"losses of shape {losses_BL.shape} for {len(batch)} sequences: one row each is needed")
    sums: list[NDArray[np.float64]] = []
    targets: list[NDArray[np.int64]] = []
    for losses_L, sequence in zip(losses_BL, batch, strict=True):
        lengths_S = sequence.segment_lengths_S.astype(np.int64)
        needed = int(lengths_S.sum()) - shifted
        if len(losses_L) < needed:
            raise ValueError(
                f"{len(losses_L)} losses for the {needed + shifted} tokens of sequence {sequence.seq_no}: give one for "
                f"{'every token but the first' if shifted else 'every token'}"
            )
        if not len(lengths_S):
            continue
        losses_T = np.zeros(needed + shifted)
        losses_T[int(shifted) :] = losses_L[:needed]
        starts_S = np.cumsum(lengths_S) - lengths_S
        losses_T[starts_S] = 0.0
        targets_S: NDArray[np.int64] = lengths_S - 1
        if sequence.no_loss_R2 is not None:
            muted_T = without_loss(sequence.no_loss_R2, len(losses_T))
            losses_T[muted_T] = 0.0
            muted_T[starts_S] = False  # these are no targets anyway
            targets_S = targets_S - np.add.reduceat(muted_T.astype(np.int64), starts_S)
        sums_S = np.add.reduceat(losses_T, starts_S)
        targets_S = np.where(sequence.segment_flags_S & NO_LOSS, 0, targets_S)
        sums.append(np.where(targets_S > 0, sums_S, 0.0))
        targets.append(targets_S)
    return (
        np.concatenate(sums or [np.zeros(0)]).astype(np.float32),
        np.concatenate(targets or [np.zeros(0, np.int64)]).astype(np.uint32),
    )


@dataclass(slots=True)
class _Step:
    """Reports of one step so far."""

    step: int
    batch: list[PackedSequence] = field(default_factory=list)
    sums: list[NDArray[np.float32]] = field(default_factory=list)
    targets: list[NDArray[np.uint32]] = field(default_factory=list)
    skipped: bool = False


class Reporter:
    """Sends records to the feedback topic from a thread of its own. Training never waits for it.

    What cannot be sent, or comes too fast, is dropped and counted in `dropped`.
    """

    def __init__(
        self, servers: str, topic: str, options: Mapping[str, Any], *, run_id: str, rank: int, world: int
    ) -> None:
        self._servers, self._topic, self._options = servers, topic, dict(options)
        self._run_id, self._rank, self._world = run_id, rank, world
        self._step: _Step | None = None
        self._waiting: queue.Queue[bytes | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self.sent = 0
        self.dropped = 0

    def report(
        self, losses_BL: Any, batch: Sequence[PackedSequence], *, step: int, shifted: bool, skipped: bool
    ) -> None:
        """Note the losses of a batch; they go out when the next step begins. Raises ValueError as `segment_losses`."""
        if self._step is not None and self._step.step != step:
            self.flush()
        if self._step is None:
            self._step = _Step(step)
        sums, targets = segment_losses(_as_array(losses_BL), batch, shifted=shifted)
        self._step.batch += batch
        self._step.sums.append(sums)
        self._step.targets.append(targets)
        self._step.skipped = self._step.skipped or skipped

    def flush(self) -> None:
        """Send off what was noted of the open step."""
        step, self._step = self._step, None
        if step is None or all(sequence.is_filler for sequence in step.batch):
            return
        first, stride = step.batch[0].seq_no, self._world
        regular = sum(
            sequence.seq_no == first + number * stride and sequence.generation == step.batch[0].generation
            for number, sequence in enumerate(step.batch)
        )
        if regular < len(step.batch):
            # A record holds one run of numbers, and a step is one record. A step around a skipped range is rare.
            log.warning("step %d is not reported: its sequences are not every %dth", step.step, stride)
            self.dropped += 1
            return
        if max(len(sequence.segment_lengths_S) for sequence in step.batch) > MAX_SEGMENTS:
            log.warning("step %d is not reported: a sequence has more than %d segments", step.step, MAX_SEGMENTS)
            self.dropped += 1
            return
        policies = np.concatenate([sequence.policy_versions_S for sequence in step.batch])
        record = Feedback(
            run_id=self._run_id,
            step=step.step,
            rank=self._rank,
            world=self._world,
            policy_version_min=int(policies.min()),
            policy_version_max=int(policies.max()),
            generation=step.batch[0].generation,
            first_seq_no=first,
            stride=stride,
            num_segments=np.array([len(s.segment_lengths_S) for s in step.batch], "<u2").tobytes(),
            sum_nll=np.concatenate(step.sums).astype("<f4").tobytes(),
            num_targets=np.concatenate(step.targets).astype("<u4").tobytes(),
            skipped=step.skipped,
        )
        self.send(encode_feedback(record))

    def send(self, value: bytes) -> None:
        """Put a record on its way, or drop it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="curatord-report", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(value)
        except queue.Full:
            self._count_dropped()

    def close(self) -> None:
        """Send what is left, for a few seconds at most."""
        self.flush()
        if self._thread is not None:
            try:
                self._waiting.put(None, timeout=CLOSE_S)
            except queue.Full:
                log.warning("%d reports were never sent: the broker does not answer", self._waiting.qsize())
            self._thread.join(CLOSE_S)
            self._is_closed = True  # a thread that still waits for a broker gives up the rest
            self._thread = None

    def _count_dropped(self) -> None:
        self.dropped += 1
        if self.dropped & (self.dropped - 1) == 0:  # 1, 2, 4, 8, ... so that a log is not flooded
            log.warning("%d reports of losses were dropped: %s is slow or does not answer", self.dropped, self._servers)

    def _run(self) -> None:
        from kafka import KafkaProducer
        from kafka.errors import KafkaError

        from curatord.clients import open_client

        key = self._run_id.encode()
        producer = None
        while (value := self._waiting.get()) is not None and not self._is_closed:
            try:
                if producer is None:
                    producer = open_client(
                        KafkaProducer,
                        **self._options,
                        bootstrap_servers=self._servers.split(","),
                        client_id="curatord-report",
                        acks="all",
                        linger_ms=20,
                        max_block_ms=int(CLOSE_S * 1000),
                        bootstrap_timeout_ms=int(CLOSE_S * 1000),
                        allow_auto_create_topics=False,
                    )
                future = producer.send(self._topic, value, key=key)
                future.add_callback(self._sent)
                future.add_errback(lambda error: self._count_dropped())
            except KafkaError:
                self._count_dropped()
        if producer is not None:
            producer.close(timeout=CLOSE_S)

    def _sent(self, metadata: object) -> None:
        self.sent += 1


def _as_array(losses: Any) -> NDArray[np.floating[Any]]:
    """Of a torch tensor or anything that numpy takes."""
    if hasattr(losses, "detach"):
        losses = losses.detach().float().cpu().numpy()
    return cast("NDArray[np.floating[Any]]", np.atleast_2d(np.asarray(losses)))
