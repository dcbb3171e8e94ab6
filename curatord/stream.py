"""PackedStream: the training sequences of a live topic or of a folder, for one rank of a training job.

    stream = PackedStream("kafka://broker:9092/sequences", rank=rank, world=world, start=checkpoint.get("stream"))
    for sequence in stream:
        ...                                            # a PackedSequence: tokens_T, segment_lengths_S
        checkpoint["stream"] = stream.state_dict()     # the same on every rank, loads under any other world

Order and state hang on one number, `seq_no`: rank r of W reads every `seq_no` that is r modulo W. After all ranks took
n sequences each, the job stands n·W further, for any W. So a state of some hundred bytes, taken at a step boundary,
is the same on all ranks, and the global batches that follow are the same sets under any number of ranks that divides
the batch.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from typing import Any, Literal

import msgspec

from curatord.channel import Channel
from curatord.errors import ForeignStream
from curatord.lead import LeadWatch
from curatord.look import bounds_of, read_again
from curatord.open_source import open_source
from curatord.position import StreamState, state_from
from curatord.preview import Preview, preview
from curatord.ranks import rank_and_world
from curatord.reader import Reader, Share, whole_rounds, without_skipped
from curatord.records import SafePoint, encode_feedback
from curatord.sequence import PackedSequence
from curatord.source import Bounds, Plan, Source
from curatord.wanted import Wanted


class PackedStream:
    """An iterator of `PackedSequence`, read ahead by a thread.

    It ends where the stream was ended (`curatord finish`; a folder: where `curatord curate` ended); until then it
    waits for more. An end that is a past one when reading begins is passed: more sequences follow it on the topic, or
    there is a later end in the folder. All ranks end after the same number of sequences.

    Nothing is opened before it is needed.

    - `url`: kafka://host:9092,host:9092/topic, or the output of `curatord curate`: a folder, or a URL such as
      s3://bucket/output, whose shards are copied to this machine as they are read.
    - `rank`, `world`: of data-parallel ranks, those that read different data. Left out, there is one.
    - `start`: a state; a `seq_no`, or "earliest" or "latest" of what there is. Several ranks that start at
      "latest" would not see the same: let one ask `bounds()` and tell the others the number. None: "earliest".
    - `generation`: of the context length; the newest, or that of the state, if left out. With a state of an older
      one the job begins at the beginning of this one.
    - `prefetch`: sequences that are read ahead.
    - `lead_limit`: sequences; the log warns when the topic is further ahead of training than this, so that what
      is trained on was chosen by an old policy.
    - `on_gap`: what to do where a sequence is missing: raise `SequenceGap`, or give an empty one in its place, so
      that the ranks stay in step.
    - `tokenizer_digest`, `context_length`: what the stream must have been made with; `ForeignStream` otherwise.
    - `run_id`: of the training run, for `report` and `release`. Give a model that starts anew another one.
    - `feedback`: kafka://host:9092/topic; for a topic, "feedback" on the same cluster if left out.
    - `archive`: of a topic, the folder or URL that `curatord archive` writes: what retention has cut is read there.
    - `client_options`: further options of kafka-python's clients, such as those of security.
    Raises ValueError if the arguments contradict each other or the environment.
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        *,
        rank: int | None = None,
        world: int | None = None,
        start: Literal["earliest", "latest"] | int | Mapping[str, Any] | None = "earliest",
        generation: int | None = None,
        prefetch: int = 64,
        lead_limit: int | None = None,
        on_gap: Literal["raise", "fill"] = "raise",
        tokenizer_digest: str = "",
        context_length: int = 0,
        run_id: str = "",
        feedback: str = "",
        client_options: Mapping[str, Any] | None = None,
        archive: str | os.PathLike[str] = "",
    ) -> None:
        self._url, self._archive = os.fspath(url), os.fspath(archive)
        self._rank, self._world = rank_and_world(rank, world)
        self._generation = generation
        self._prefetch = prefetch
        self._lead_watch = None if lead_limit is None else LeadWatch(self._url, lead_limit)
        self._on_gap = on_gap
        self._client_options = dict(client_options or {})
        self._run_id = run_id
        self._channel = Channel(self._url, feedback, self._client_options, run_id, (self._rank, self._world))
        self._wanted = Wanted(self._url, tokenizer_digest, context_length)
        self._start: Any = "earliest" if start is None else start
        self._origin: StreamState | None = None  # where counting began; None until `start` is resolved
        self._taken = 0  # sequences that were given out since
        self._stop_from: int | None = None  # ends before this number are passed; None until reading begins
        self._source: Source | None = None
        self._pid = 0  # of the process that opened the source
        self._share = Share()
        self._reader: Reader | None = None
        self._read_ahead: deque[PackedSequence] = deque()
        self._is_ended = False
        _check_arguments(prefetch, on_gap, start, self._world)
        if isinstance(start, Mapping):
            self.load_state_dict(start)

    # Iteration.

    def __iter__(self) -> Iterator[PackedSequence]:
        return self

    def __next__(self) -> PackedSequence:
        """The next sequence of this rank; waits for it.

        Raises `SequenceGap`, `RetentionLost`, `ForeignStream`, `GenerationEnded`, `CorruptSequence`,
        `BrokerUnavailable`; after any of them the stream stands where it stood.
        """
        if self._is_ended:
            raise StopIteration
        self._resolved()
        if self._reader is None:
            self._reader = self._begin_reading()
        if not self._read_ahead:
            try:
                self._read_ahead.extend(self._reader.take(self._name_next))
            except Exception:  # the reader has ended with it
                self._stop_reading()
                raise
        if not self._read_ahead:
            self._is_ended = True
            self._stop_reading()
            raise StopIteration
        sequence = self._read_ahead.popleft()
        self._taken += 1
        if self._lead_watch is not None:
            self._lead_watch.see(self.lead)
        return sequence

    def _name_next(self) -> str:
        return f"sequence {self._position().next_seq_no} of {self._url}"

    def _begin_reading(self) -> Reader:
        state = self._position()
        source = self._opened()
        if self._stop_from is None:
            # Once: a rank that connects again stops at the same end as the others, even if more came behind it.
            self._stop_from = source.stop_from(state.generation, state.next_seq_no)
        plan = Plan(
            generation=state.generation,
            first=state.next_seq_no,
            stop_from=max(self._stop_from, state.next_seq_no),
            rank=self._rank,
            world=self._world,
            fill_gaps=self._on_gap == "fill",
        )
        found = without_skipped(whole_rounds(source, plan), state, self._share)
        return Reader(found, self._wanted.check, self._prefetch)

    # State.

    def state_dict(self, *, consumed: int | None = None) -> dict[str, Any]:
        """Where the job stands after this rank consumed so many sequences, since the start or the last load.

        Give `consumed`, since a loader may have taken more from the stream than was trained on; left out, it is what
        this object gave out. Less than 1 kB of plain values, the same on every rank at a step boundary.
        Raises ValueError if `consumed` is negative.
        """
        state: dict[str, Any] = msgspec.to_builtins(self._position(consumed))
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken, under the `rank` and `world` of this stream.

        If this stream was made with a `generation=` behind that of the state, go on at its beginning.
        Raises `ForeignStream` if the state is of another stream, `StreamError` if it is none.
        """
        loaded = state_from(state)
        if self._generation is not None and loaded.generation < self._generation:
            loaded = msgspec.structs.replace(
                loaded, generation=self._generation, next_seq_no=0, skips=[], context_length=0
            )
        self._wanted.check_state(loaded)
        self._stop_reading()
        self._origin, self._taken, self._stop_from, self._is_ended = loaded, 0, None, False
        for first, end in loaded.skips:
            self._check_skip(first, end)

    def skip(self, first: int, end: int) -> None:
        """Leave out the sequences `first <= seq_no < end`, on every rank alike.

        Raises ValueError unless it is a whole number of rounds of all ranks, still ahead.
        """
        position = self._position()
        self._check_skip(first, end)
        if first < position.next_seq_no:
            raise ValueError(f"sequence {first} was consumed already: the stream stands at {position.next_seq_no}")
        self._origin = self._resolved().skipping(first, end)
        self._stop_reading()

    def _check_skip(self, first: int, end: int) -> None:
        if not 0 <= first < end or (end - first) % self._world:
            raise ValueError(
                f"{end - first} sequences from {first} are no whole number of rounds of {self._world} ranks: skip "
                "whole global batches, so that the ranks stay in step"
            )

    def _position(self, consumed: int | None = None) -> StreamState:
        origin = self._resolved()
        taken = self._taken if consumed is None else consumed
        if taken < 0:
            raise ValueError(f"consumed is a number of sequences, not {taken}")
        return msgspec.structs.replace(
            origin.advanced(taken * self._world),
            tokenizer_digest=self._wanted.digest,
            context_length=self._wanted.context_length,
        )

    def _resolved(self) -> StreamState:
        """The origin; `start` is looked up when it is first needed."""
        source = self._opened()
        if self._origin is None:
            bounds = source.bounds(self._generation)
            first = {"earliest": bounds.first, "latest": bounds.end}.get(self._start, self._start)
            self._origin = StreamState(generation=bounds.generation, next_seq_no=int(first), source=source.identity)
        elif self._origin.source != source.identity and self._origin.source and source.identity:
            raise ForeignStream(
                f"the state was taken on a topic with the id {self._origin.source}; {self._url} has the id "
                f"{source.identity}: it was deleted and made anew, and its numbers mean other sequences. If it is a "
                "copy of the old one, set 'source' of the state to ''"
            )
        return self._origin

    # Looking, without moving.

    def bounds(self) -> Bounds:
        """The first and last sequences that there are now."""
        return bounds_of(self._url, self._client_options, self._generation, self._archive)

    @property
    def lead(self) -> int:
        """About how many sequences there are that no rank has taken yet, as far as is known."""
        if self._source is None or self._origin is None:
            return 0
        return max(0, self._source.newest() - self._position().next_seq_no)

    def replay(self, first: int, end: int) -> Iterator[PackedSequence]:
        """Read `first <= seq_no < end` again, for every rank, without moving."""
        generation = self._resolved().generation
        yield from map(
            self._wanted.check, read_again(self._url, self._client_options, generation, first, end, self._archive)
        )

    def dry_run(self, sequences: int = 1000) -> Preview:
        """Padding and cut documents of the next sequences, at most so many and no more than there are."""
        position = self._position()
        first = position.next_seq_no
        end = min(first + sequences, bounds_of(self._url, self._client_options, position.generation, self._archive).end)
        return preview(list(self.replay(first, end)) if end > first else [])

    # Feedback.

    def report(
        self,
        loss_per_token: Any,
        batch: Sequence[PackedSequence],
        *,
        step: int | None = None,
        shifted: bool = False,
        skipped: bool = False,
    ) -> None:
        """Tell the daemon what these sequences cost: the loss of every token, in nats, one row a sequence.

        `loss_per_token[b, t]` is the loss with which token t was predicted, as labels lie in Hugging Face's models;
        with `shifted`, token t + 1, as logits do. Tensors and arrays both do. Batches of one `step` are put together
        and go out when the next step begins; left out, a call is a step of its own. `skipped`: the optimiser did not
        take it. Never waits and never fails for the broker's sake: what cannot be sent is dropped, and counted in
        `reports_dropped`.
        Raises ValueError if the shapes do not fit, or there is no `run_id`.
        """
        if not batch:
            return
        if step is None:
            step = batch[0].seq_no // (self._world * len(batch))
        self._channel.opened().report(loss_per_token, batch, step=step, shifted=shifted, skipped=skipped)

    def release(self, state: Mapping[str, Any] | None = None) -> None:
        """Tell the daemon that the run never goes back before `state`, that of its oldest checkpoint; None: it ended.

        From this the daemon knows how much longer the topic must be kept, and warns before it is not.
        """
        reporter = self._channel.opened()
        position = None if state is None else state_from(state)
        point = SafePoint(
            run_id=self._run_id,
            generation=self._resolved().generation if position is None else position.generation,
            safe_seq_no=-1 if position is None else position.next_seq_no,
        )
        reporter.send(encode_feedback(point))

    @property
    def has_feedback(self) -> bool:
        """Whether there is a run_id, and a topic to report to."""
        return self._channel.is_possible

    @property
    def reports_dropped(self) -> int:
        """Records of feedback that never reached the broker."""
        return self._channel.dropped

    # Life.

    def for_worker(self, worker: int, workers: int, batch_size: int) -> PackedStream:
        """The part of one of several loader workers: of this rank's batches, every `workers`-th, in its order."""
        part = PackedStream.__new__(PackedStream)
        part.__dict__.update(self.__getstate__())
        part._wanted = replace(self._wanted)
        part._channel = copy(self._channel)
        part._share = Share(worker, workers, batch_size)
        return part

    @property
    def rank(self) -> int:
        """The data-parallel rank that this stream is for."""
        return self._rank

    @property
    def world(self) -> int:
        """The number of data-parallel ranks."""
        return self._world

    def close(self) -> None:
        """Stop reading, send what is left to report, let connections go. What comes next is read on from here."""
        self._stop_reading()
        self._channel.close()
        if self._source is not None and self._pid == os.getpid():
            self._source.close()
        self._source = None

    def __enter__(self) -> PackedStream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        """A stream that is dropped, by a `break` out of a loop or an error, lets its thread and connection go."""
        reader, source = self.__dict__.get("_reader"), self.__dict__.get("_source")
        if (reader is None and source is None) or self._pid != os.getpid():
            return
        # The garbage collector runs on any thread, that of the reader or the client too, which cannot wait for itself.
        with suppress(RuntimeError):  # the interpreter ends, and both with it
            threading.Thread(target=_let_go, args=[reader, source], name="curatord-let-go", daemon=True).start()

    def __getstate__(self) -> dict[str, Any]:
        """For the processes of a loader: everything but what is open."""
        return {**self.__dict__, "_source": None, "_reader": None, "_read_ahead": deque(), "_pid": 0}

    def _opened(self) -> Source:
        if self._source is None or self._pid != os.getpid():
            # A connection must not be shared with the process that this one was forked from.
            source = open_source(self._url, self._client_options, self._archive)
            self._source, self._pid, self._reader = source, os.getpid(), None
            self._read_ahead.clear()
        return self._source

    def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.stop()
            self._reader = None
        self._read_ahead.clear()


def _let_go(reader: Reader | None, source: Source | None) -> None:
    if reader is not None:
        reader.stop()
    if source is not None:
        source.close()


def _check_arguments(prefetch: int, on_gap: str, start: object, world: int) -> None:
    if prefetch < 1:
        raise ValueError(f"prefetch is at least 1, not {prefetch}")
    if on_gap not in ("raise", "fill"):
        raise ValueError(f"on_gap is 'raise' or 'fill', not {on_gap!r}")
    if isinstance(start, str) and start not in ("earliest", "latest"):
        raise ValueError(f"start is 'earliest', 'latest', a seq_no or a state, not {start!r}")
    if start == "latest" and world > 1:
        raise ValueError(
            f"start='latest' is another place for each of {world} ranks: let rank 0 take bounds().end, send "
            "it to all, and give it as start"
        )
