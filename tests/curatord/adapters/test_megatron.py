"""Micro-batches for Megatron, with its own PackedSeqParams."""

from __future__ import annotations

import warnings
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from curatord.sequence import NO_LOSS
from curatord.stream import PackedStream
from tests.curatord.adapters.streams import marked, numbers, same_gradient, tiny_llama, weighted, weighted_gradient
from tests.curatord.streams import CONTEXT

with warnings.catch_warnings():
    # It regrets that Transformer Engine is missing, and deprecates imports of its own.
    warnings.simplefilter("ignore")
    from megatron.core.packed_seq_params import PackedSeqParams

    from curatord.adapters.megatron import micro_batch, micro_batches

SEQUENCES = [marked(seq_no) for seq_no in range(5, 9)]


def segments() -> list[tuple[list[int], bool]]:
    """Of all sequences: the tokens of a segment, and whether it has a loss; a pad tail is one without tokens."""
    found = []
    for sequence in SEQUENCES:
        tokens = sequence.tokens_T.tolist()
        for length, flags in zip(sequence.segment_lengths_S.tolist(), sequence.segment_flags_S.tolist(), strict=True):
            found.append((tokens[:length], not flags & NO_LOSS))
            tokens = tokens[length:]
    return found


def test_segments_are_what_the_sequence_says() -> None:
    batch = micro_batch(SEQUENCES, pad_id=9)

    params = batch["packed_seq_params"]
    lengths = [
        np.append(s.segment_lengths_S, [CONTEXT - len(s.tokens_T)] if len(s.tokens_T) < CONTEXT else [])
        for s in SEQUENCES
    ]
    assert isinstance(params, PackedSeqParams)
    assert params.qkv_format == "thd"
    assert params.cu_seqlens_q.tolist() == params.cu_seqlens_kv.tolist() == [0, *np.cumsum(np.concatenate(lengths))]
    assert params.cu_seqlens_q.dtype == torch.int32
    assert params.cu_seqlens_q_padded is params.cu_seqlens_kv_padded is None
    assert params.max_seqlen_q == params.max_seqlen_kv == np.concatenate(lengths).max()
    for name in ("tokens", "labels", "loss_mask", "position_ids"):
        assert batch[name].shape == (1, len(SEQUENCES) * CONTEXT)
    assert torch.nonzero(batch["position_ids"][0] == 0).flatten().tolist() == params.cu_seqlens_q[:-1].tolist()


@pytest.mark.parametrize("multiple", [1, 4, 8])
def test_padding_for_context_parallelism(multiple: int) -> None:
    batch = micro_batch(SEQUENCES, multiple=multiple, pad_id=9)

    params = batch["packed_seq_params"]
    starts = (params.cu_seqlens_q if multiple == 1 else params.cu_seqlens_q_padded)[:-1].tolist()
    lengths = params.cu_seqlens_q.diff().tolist()
    assert all(start % multiple == 0 for start in starts)
    # Walk through both: every segment lies at its place, with its labels one ahead, and nothing else has a loss.
    expected = iter(segments())
    targets = 0
    for start, length in zip(starts, lengths, strict=True):
        tokens = batch["tokens"][0, start : start + length].tolist()
        if set(tokens) == {9}:  # a pad tail
            assert batch["loss_mask"][0, start : start + length].sum() == 0
            continue
        wanted, has_loss = next(expected)
        assert tokens == wanted
        if has_loss:
            assert batch["labels"][0, start : start + length - 1].tolist() == wanted[1:]
            assert batch["loss_mask"][0, start : start + length].tolist() == [1.0] * (length - 1) + [0.0]
            targets += length - 1
    assert next(expected, None) is None
    assert batch["loss_mask"].sum() == targets
    assert batch["labels"].min() >= 0
    assert batch["tokens"].shape[1] % multiple == 0


def test_it_goes_on_from_the_samples_that_megatron_counts(folder: Path) -> None:
    size, world = 2, 2
    taken: list[int] = []
    for rank in range(world):
        stream = PackedStream(folder, rank=rank, world=world)
        taken += [n for batch in islice(micro_batches(stream, size), 3) for n in numbers(batch["tokens"])]
        assert stream.state_dict(consumed=3 * size)["next_seq_no"] == 3 * size * world
    assert sorted(taken) == list(range(12))

    stream = PackedStream(folder, rank=0, world=1, start=12)  # consumed_train_samples, under half the ranks
    assert numbers(next(micro_batches(stream, 4, multiple=4))["tokens"]) == [12, 13, 14, 15]
    with pytest.raises(ValueError, match="at least 1"):
        next(micro_batches(stream, 0))


def test_weights_are_in_the_loss_mask_that_losses_are_multiplied_by() -> None:
    sequences = [weighted(5), marked(6), weighted(7)]
    batch, model = micro_batch(sequences), tiny_llama()
    positions = batch["position_ids"]
    logits = model(input_ids=batch["tokens"], position_ids=positions, use_cache=False).logits
    losses = torch.nn.functional.cross_entropy(logits[0], batch["labels"][0], reduction="none")
    plain = micro_batch([replace(sequence, weights_S=None) for sequence in sequences])["loss_mask"]
    # As Megatron's loss_func: masked, summed, and divided by the number of tokens of the step.
    ((losses * batch["loss_mask"][0]).sum() / plain.sum()).backward()
    assert same_gradient(model, weighted_gradient(sequences))
    assert set(plain.unique().tolist()) == {0.0, 1.0}
