"""Packed sequences as the arrays that trainers take: tokens, positions and labels, padded to one length.

Shapes: B sequences of a batch, L positions of a row, S segments.

- Positions count from 0 in every segment: from this, trainers see where a document begins. The pad tail is one more
  segment, which counts on; zeros there would make every pad token a segment of its own.
- Labels are the tokens themselves, for trainers that shift them, and -100 where there is no target: at the first token
  of a segment, at padding, and in segments and ranges without loss. With `shifted` they are the next tokens, and it is
  the last token of a segment that has none.
- Weights lie as labels do: what the loss at a label is multiplied by. They are there if a sequence of the batch has
  any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curatord.errors import UnsafeTraining
from curatord.no_loss import without_loss
from curatord.sequence import NO_LOSS, PackedSequence

NO_TARGET = -100  # what every trainer leaves out of its loss


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch."""

    input_ids_BL: NDArray[np.int64]
    position_ids_BL: NDArray[np.int64]
    labels_BL: NDArray[np.int64]
    weights_BL: NDArray[np.float32] | None  # 0 where there is no target; None: 1 at every target
    seq_lengths: tuple[NDArray[np.int64], ...]  # of each row: its segments, and the pad tail if there is one

    @property
    def cu_seqlens(self) -> NDArray[np.int32]:
        """Where segments begin, if the rows are laid one after another, and where the last one ends."""
        return bounds(np.concatenate(self.seq_lengths))


def bounds(lengths_S: NDArray[np.integer]) -> NDArray[np.int32]:
    """Where segments of these lengths begin, and where the last one ends.

    >>> bounds(np.array([3, 4])).tolist()
    [0, 3, 7]
    """
    return np.concatenate([[0], np.cumsum(lengths_S)]).astype(np.int32)


def padded_lengths(sequence: PackedSequence, multiple: int = 1) -> NDArray[np.int64]:
    """Of each segment, what it takes in a row where segments are padded to a multiple of so many tokens."""
    return -(-sequence.segment_lengths_S.astype(np.int64) // multiple) * multiple


def rows(
    batch: Sequence[PackedSequence],
    *,
    length: int | None = None,
    pad_id: int = 0,
    shifted: bool = False,
    multiple: int = 1,
) -> Rows:
    """The arrays of a batch.

    `length` of all rows is the context length if left out, or more if padding every segment to a `multiple` of tokens,
    as context parallelism wants it, needs more.
    Raises ValueError if a row is longer than `length`.
    """
    rooms = [padded_lengths(sequence, multiple) for sequence in batch]
    needed = max((int(room_S.sum()) for room_S in rooms), default=0)
    if length is None:
        length = max([1, needed, *(sequence.context_length for sequence in batch)])
        length = -(-length // multiple) * multiple
    if needed > length:
        raise ValueError(f"a sequence takes {needed} tokens, a row has {length}")
    input_ids_BL = np.full((len(batch), length), pad_id, np.int64)
    position_ids_BL = np.empty((len(batch), length), np.int64)
    labels_BL = np.full((len(batch), length), NO_TARGET, np.int64)
    is_weighted = any(sequence.weights_S is not None for sequence in batch)
    weights_BL = np.ones((len(batch), length), np.float32) if is_weighted else None
    seq_lengths = []
    for row, (sequence, room_S) in enumerate(zip(batch, rooms, strict=True)):
        lengths_S = sequence.segment_lengths_S.astype(np.int64)
        starts_S = np.cumsum(room_S) - room_S
        # Where each token goes: its place in the sequence, moved by the padding of the segments before it.
        places_T = np.arange(len(sequence.tokens_T)) + np.repeat(
            starts_S - (np.cumsum(lengths_S) - lengths_S), lengths_S
        )
        input_ids_BL[row, places_T] = sequence.tokens_T
        labels_BL[row, places_T] = _labels(sequence, lengths_S, shifted)
        if weights_BL is not None and sequence.weights_S is not None:
            # A label and the token that it is predicted at are of one segment.
            weights_BL[row, places_T] = np.repeat(sequence.weights_S, lengths_S)
        tail = length - int(room_S.sum())
        taken_S = np.append(room_S, tail) if tail else room_S
        position_ids_BL[row] = np.arange(length) - np.repeat(np.cumsum(taken_S) - taken_S, taken_S)
        seq_lengths.append(taken_S)
    if weights_BL is not None:
        weights_BL[labels_BL == NO_TARGET] = 0.0
    return Rows(input_ids_BL, position_ids_BL, labels_BL, weights_BL, tuple(seq_lengths))


def weights_of(arrays: Rows) -> NDArray[np.float32]:
    """Weights of all labels, 1 at every target where no sequence has any."""
    if arrays.weights_BL is None:
        weights_BL: NDArray[np.float32] = (arrays.labels_BL != NO_TARGET).astype(np.float32)
        return weights_BL
    return arrays.weights_BL


def refuse_weights(batch: Sequence[PackedSequence], way_out: str) -> None:
    """Raise `UnsafeTraining` if a sequence has weights, for a trainer that would train without them."""
    weighted = [sequence.seq_no for sequence in batch if sequence.weights_S is not None]
    if weighted:
        raise UnsafeTraining(f"sequence {weighted[0]} has weights, and this trainer would not heed them: {way_out}")


def _labels(sequence: PackedSequence, lengths_S: NDArray[np.int64], shifted: bool) -> NDArray[np.int64]:
    labels_T = sequence.tokens_T.astype(np.int64)
    ends_S = np.cumsum(lengths_S)
    if sequence.no_loss_R2 is not None:
        labels_T[without_loss(sequence.no_loss_R2, len(labels_T))] = NO_TARGET
    if shifted:
        labels_T[:-1] = labels_T[1:]
    # Segments may be empty in theory; of those, neither first nor last token is theirs.
    labels_T[(ends_S - 1 if shifted else ends_S - lengths_S)[lengths_S > 0]] = NO_TARGET
    labels_T[np.repeat(sequence.segment_flags_S & NO_LOSS != 0, lengths_S)] = NO_TARGET
    return labels_T
