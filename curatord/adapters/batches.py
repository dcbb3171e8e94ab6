"""Whole batches of a stream, read beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from curatord.sequence import PackedSequence
from curatord.stream import PackedStream


def whole_batches(
    stream: PackedStream, size: int, *, worker: int = 0, workers: int = 1, start: Mapping[str, Any] | None = None
) -> Iterator[list[PackedSequence]]:
    """Of the rank's batches of `size` sequences, those of one worker, from where the stream was started or loaded.

    The stream itself stays there, so that `state_dict(consumed=...)` counts what was trained on, and a trainer may look
    at the first batch twice. Fewer than `size` at the end are not given: they are for a run that goes on when there is
    more.
    """
    begun = stream.state_dict(consumed=0)
    with stream.for_worker(worker, workers, size) as part:
        part.load_state_dict(begun if start is None else start)
        batch: list[PackedSequence] = []
        for number, sequence in enumerate(part):
            if number == 0 and start is None and stream.state_dict(consumed=0) == begun:
                # The same place, and with it what the stream was made with, which a state is to hold.
                stream.load_state_dict(part.state_dict(consumed=0))
            batch.append(sequence)
            if len(batch) == size:
                yield batch
                batch = []
