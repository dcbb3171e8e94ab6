"""A folder whose sequences can be told from their tokens, and a model that is small enough for two cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace
from transformers import LlamaConfig, LlamaForCausalLM

from consumers.files.shards import shard_name, write_sequences
from curatord.sequence import NO_LOSS, PackedSequence
from tests.curatord.streams import CONTEXT, row, write_manifest

VOCABULARY = 2000
MARK = 1000  # and seq_no more: the first token of a sequence. All others are smaller


def marked(seq_no: int) -> PackedSequence:
    """Every fifth sequence has a segment without loss; every seventh fills its row."""
    sequence = row(seq_no)
    tokens_T, lengths_S, flags_S = sequence.tokens_T, sequence.segment_lengths_S, sequence.segment_flags_S.copy()
    if seq_no % 7 == 0:
        missing = CONTEXT - len(tokens_T)
        lengths_S = np.append(lengths_S[:-1], lengths_S[-1] + missing).astype(np.uint32)
        tokens_T = np.append(tokens_T, np.arange(1, missing + 1)).astype(np.uint32)
    if seq_no % 5 == 0:
        flags_S[-1] |= NO_LOSS
    tokens_T[0] = MARK + seq_no
    return replace(sequence, tokens_T=tokens_T, segment_lengths_S=lengths_S, segment_flags_S=flags_S)


def weighted(seq_no: int) -> PackedSequence:
    """The same, with a weight a segment."""
    sequence = marked(seq_no)
    weights_S = np.random.default_rng(seq_no).uniform(0.1, 3.0, len(sequence.segment_lengths_S)).astype(np.float32)
    return replace(sequence, weights_S=weights_S)


def make_folder(folder: Path, count: int, made: Callable[[int], PackedSequence] = marked) -> Path:
    """A complete folder of `count` sequences in two shards."""
    folder.mkdir(parents=True, exist_ok=True)
    for first, end in [(0, count // 3), (count // 3, count)]:
        sequences = [made(seq_no) for seq_no in range(first, end)]
        write_sequences(folder / shard_name(sequences), sequences)
    write_manifest(folder, ends=[count])
    return folder


def tiny_llama(attention: str = "sdpa") -> LlamaForCausalLM:
    """Two layers; always the same weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        attn_implementation=attention,  # type: ignore[call-arg]
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config)


def weighted_gradient(sequences: Sequence[PackedSequence]) -> list[torch.Tensor]:
    """The gradient of the sum over all targets of weight times loss, over their number, one document at a time."""
    model = tiny_llama().double()
    total, count = torch.zeros((), dtype=torch.float64), 0
    for sequence in sequences:
        bounds = [0, *np.cumsum(sequence.segment_lengths_S.astype(np.int64)).tolist()]
        weights = np.ones(len(bounds) - 1) if sequence.weights_S is None else sequence.weights_S
        for segment, (first, end) in enumerate(pairwise(bounds)):
            if sequence.segment_flags_S[segment] & NO_LOSS:
                continue
            ids = torch.tensor(sequence.tokens_T[first:end].astype(np.int64))[None]
            scores = model(input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(dim=-1)
            total = total - float(weights[segment]) * scores.gather(1, ids[0, 1:, None]).sum()
            count += end - first - 1
    (total / count).backward()
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def same_gradient(model: torch.nn.Module, expected: Sequence[torch.Tensor]) -> bool:
    """To 1e-6 of the longest."""
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    scale = max(float(gradient.abs().max()) for gradient in expected)
    differences = [float((a.double() - b).abs().max()) for a, b in zip(found, expected, strict=True)]
    return scale > 0 and max(differences) <= 1e-6 * max(1.0, scale)


def numbers(input_ids: Any) -> list[int]:
    """The sequences whose beginnings are in a batch."""
    ids = np.asarray(input_ids).ravel()
    return [int(value) - MARK for value in ids[ids >= MARK]]


def watch(model: torch.nn.Module) -> list[dict[str, Any]]:
    """A list that gets what the model is called with."""
    seen: list[dict[str, Any]] = []

    def note(module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        seen.append({name: value for name, value in kwargs.items() if name != "num_items_in_batch"})

    model.register_forward_pre_hook(note, with_kwargs=True)
    return seen
