"""For torchtitan: a dataloader in place of its own, which resumes under another data-parallel degree, too.

    config.dataloader = PackedLoader.Config(dataset_path="kafka://broker:9092/sequences")

Its trainer builds it with rank, degree and batch size, and keeps its state in the checkpoint. Attention must be one
that sees documents by their positions: flex or varlen.

For a stream with weights, both:

    config.dataloader = PackedLoader.Config(dataset_path=..., weights="apply")
    config.loss = WeightedLoss.Config()
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch.distributed.tensor import DTensor
from torchtitan.components.dataloader import BaseDataLoader
from torchtitan.components.loss import BaseLoss
from torchtitan.distributed.spmd_types import spmd_mesh_size
from torchtitan.distributed.utils import get_spmd_backend

from curatord.adapters.batches import whole_batches
from curatord.adapters.rows import NO_TARGET, Rows, refuse_weights, rows, weights_of
from curatord.errors import UnsafeTraining
from curatord.stream import PackedStream

STATE = "curatord_stream"
# Of a weight of 1: labels without any weight are then labels of that weight.
_ONE_BITS = int(np.float32(1.0).view(np.int32))


class PackedLoader(BaseDataLoader):
    """Batches of this rank: {"input", "positions"} and labels, each of local_batch_size rows of seq_len tokens."""

    @dataclass(kw_only=True, slots=True)
    class Config(BaseDataLoader.Config):
        """`dataset_path`: a topic, kafka://host:9092/topic, or the output folder of `curatord curate`."""

        dataset: str = "curatord"
        stream_kwargs: dict[str, Any] = field(default_factory=dict)
        """Further arguments of PackedStream, such as run_id and client_options."""
        weights: Literal["refuse", "apply", "ignore"] = "refuse"
        """Of a stream that has any: "apply" them, for `WeightedLoss`; "ignore" them; "refuse" the stream."""

    def __init__(
        self,
        config: Config,
        *,
        dp_world_size: int,
        dp_rank: int,
        seq_len: int,
        local_batch_size: int,
        **others: Any,  # a tokenizer, which the stream's documents have behind them, and what other loaders need
    ) -> None:
        """Raises ValueError without a dataset_path; `ForeignStream`, later, if the context length is not seq_len."""
        if not config.dataset_path:
            raise ValueError("PackedLoader.Config(dataset_path=...) is a topic, kafka://host:9092/topic, or a folder")
        self.stream = PackedStream(
            config.dataset_path, rank=dp_rank, world=dp_world_size, context_length=seq_len, **config.stream_kwargs
        )
        self._batch_size, self._weights = local_batch_size, config.weights
        self._batches = 0  # that were given out since the stream was started or loaded

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
        self.load_state_dict(self.state_dict())  # an iteration goes on behind the one before
        for batch in whole_batches(self.stream, self._batch_size):
            self._batches += 1
            if self._weights == "refuse":
                refuse_weights(batch, 'WeightedLoss heeds them, with PackedLoader.Config(weights="apply")')
            arrays = rows(batch, shifted=True)
            labels_BL = _with_weights(arrays) if self._weights == "apply" else arrays.labels_BL
            inputs = {"input": arrays.input_ids_BL, "positions": arrays.position_ids_BL}
            yield {name: torch.from_numpy(array) for name, array in inputs.items()}, torch.from_numpy(labels_BL)

    def state_dict(self) -> dict[str, Any]:
        """The same on every rank: one line of text, which a checkpoint stores once."""
        return {STATE: json.dumps(self.stream.state_dict(consumed=self._batches * self._batch_size))}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where it was taken, under any data-parallel degree. An empty one changes nothing."""
        if state_dict:
            self.stream.load_state_dict(json.loads(state_dict[STATE]))
            self._batches = 0


class WeightedLoss(BaseLoss):
    """Cross-entropy of every target times its weight, summed; torchtitan divides by the targets, as for its own.

    Its trainer hands a loss labels and nothing else, so each label carries its weight: in the upper half of its 64
    bits. Labels without, as those of a validation, have a weight of 1. Raises `UnsafeTraining` where logits are shared
    out by vocabulary (loss parallel), for there the sum is torchtitan's.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(BaseLoss.Config):
        """There is nothing to set."""

    def __init__(self, config: Config, *, compile_config: Any = None) -> None:
        self.fn = _weighted_cross_entropy
        self._maybe_compile(compile_config)


def _with_weights(arrays: Rows) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Labels that carry their weights; those that are no targets stay as they are."""
    bits_BL = (weights_of(arrays).view(np.int32) ^ np.int32(_ONE_BITS)).astype(np.int64) << 32
    return np.where(arrays.labels_BL == NO_TARGET, arrays.labels_BL, bits_BL | arrays.labels_BL)


def _weighted_cross_entropy(logits_BLV: torch.Tensor, labels_BL: torch.Tensor) -> torch.Tensor:
    if isinstance(logits_BLV, DTensor) or (get_spmd_backend() == "spmd_types" and spmd_mesh_size("tp") > 1):
        raise UnsafeTraining("WeightedLoss wants whole logits, and they are shared out by vocabulary: train without TP")
    labels_T = labels_BL.flatten()
    is_target_T = labels_T != NO_TARGET
    weights_T = ((labels_T >> 32).to(torch.int32) ^ _ONE_BITS).view(torch.float32)
    targets_T = torch.where(is_target_T, labels_T & 0xFFFFFFFF, NO_TARGET)
    losses_T = torch.nn.functional.cross_entropy(
        logits_BLV.flatten(0, 1).float(), targets_T, ignore_index=NO_TARGET, reduction="none"
    )
    return (losses_T * torch.where(is_target_T, weights_T, 0.0)).sum()
