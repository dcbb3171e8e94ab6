"""For Megatron: micro-batches in its packed (`thd`) format, with PackedSeqParams.

    rank, world = parallel_state.get_data_parallel_rank(), parallel_state.get_data_parallel_world_size()
    stream = PackedStream("curated", rank=rank, world=world, start=args.consumed_train_samples)
    for batch in micro_batches(stream, args.micro_batch_size, multiple=2 * cp_size):
        output = model(batch["tokens"], batch["position_ids"], None, labels=batch["labels"],
                       packed_seq_params=batch["packed_seq_params"])

Megatron counts samples over all ranks, and so do `seq_no` and `start`: a run that began with sequence 0 needs no other
state. Any other keeps `stream.state_dict(consumed=...)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from curatord.adapters.batches import whole_batches
from curatord.adapters.rows import NO_TARGET, bounds, rows
from curatord.sequence import PackedSequence
from curatord.stream import PackedStream

try:
    from megatron.core.packed_seq_params import PackedSeqParams
except ImportError:  # a fork has its own; what is below has the same fields
    PackedSeqParams = SimpleNamespace


def micro_batches(
    stream: PackedStream, micro_batch_size: int = 1, *, multiple: int = 1, pad_id: int = 0
) -> Iterator[dict[str, Any]]:
    """The rank's micro-batches, from where the stream was started or loaded.

    `multiple`: with context parallelism 2 · CP, and CP · 2 · TP if sequences are parallel, too: every segment is padded
    to a multiple of so many tokens. All ranks of tensor, pipeline and context parallelism read the same.
    """
    if micro_batch_size < 1 or multiple < 1:
        raise ValueError(f"micro_batch_size={micro_batch_size} and multiple={multiple} are at least 1")
    for batch in whole_batches(stream, micro_batch_size):
        yield micro_batch(batch, multiple=multiple, pad_id=pad_id)


def micro_batch(batch: Sequence[PackedSequence], *, multiple: int = 1, pad_id: int = 0) -> dict[str, Any]:
    """One row of all sequences: tokens, labels, loss_mask and position_ids of shape [1, T], and packed_seq_params."""
    arrays = rows(batch, pad_id=pad_id, shifted=True, multiple=multiple)
    labels = arrays.labels_BL.reshape(1, -1)
    has_target = labels != NO_TARGET
    weights = has_target if arrays.weights_BL is None else arrays.weights_BL.reshape(1, -1)
    return {
        "tokens": torch.from_numpy(arrays.input_ids_BL.reshape(1, -1)),
        "labels": torch.from_numpy(np.where(has_target, labels, 0)),  # Megatron looks every label up, and masks then
        "loss_mask": torch.from_numpy(weights.astype(np.float32)),  # Megatron multiplies losses by it, and sums it
        "position_ids": torch.from_numpy(arrays.position_ids_BL.reshape(1, -1)),
        "attention_mask": None,
        "packed_seq_params": _parameters(batch, arrays.seq_lengths, padded=multiple > 1),
    }


def _parameters(batch: Sequence[PackedSequence], taken: Sequence[np.ndarray], *, padded: bool) -> PackedSeqParams:
    """`taken`: of each row, the tokens that its segments take with their padding, and its pad tail."""
    lengths = [
        np.append(sequence.segment_lengths_S, taken_S[len(sequence.segment_lengths_S) :])
        for sequence, taken_S in zip(batch, taken, strict=True)
    ]
    cu_seqlens = torch.from_numpy(bounds(np.concatenate(lengths)))
    # Where segments lie, if that is not where their tokens end.
    cu_seqlens_padded = torch.from_numpy(bounds(np.concatenate(taken))) if padded else None
    longest = int(max(taken_S.max() for taken_S in taken))
    return PackedSeqParams(
        qkv_format="thd",
        cu_seqlens_q=cu_seqlens,
        cu_seqlens_kv=cu_seqlens,
        cu_seqlens_q_padded=cu_seqlens_padded,
        cu_seqlens_kv_padded=cu_seqlens_padded,
        max_seqlen_q=longest,
        max_seqlen_kv=longest,
    )
