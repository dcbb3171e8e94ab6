"""For torchtitan: a dataloader in place of its own, which resumes under another data-parallel degree, too.

    config.dataloader = PackedLoader.Config(dataset_path="kafka://broker:9092/sequences")

Its trainer builds it with rank, degree and batch size, and keeps its state in the checkpoint. Attention must be one
that sees documents by their positions: flex or varlen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torchtitan.components.dataloader import BaseDataLoader

from curatord.adapters.batches import whole_batches
from curatord.adapters.pytorch import tensors
from curatord.adapters.rows import refuse_weights
from curatord.stream import PackedStream

STATE = "curatord_stream"


class PackedLoader(BaseDataLoader):
    """Batches of this rank: {"input", "positions"} and labels, each of local_batch_size rows of seq_len tokens."""

    @dataclass(kw_only=True, slots=True)
    class Config(BaseDataLoader.Config):
        """`dataset_path`: a topic, kafka://host:9092/topic, or the output folder of `curatord curate`."""

        dataset: str = "curatord"
        stream_kwargs: dict[str, Any] = field(default_factory=dict)
        """Further arguments of PackedStream, such as run_id and client_options."""

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
        self._batch_size = local_batch_size
        self._batches = 0  # that were given out since the stream was started or loaded

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
        self.load_state_dict(self.state_dict())  # an iteration goes on behind the one before
        for batch in whole_batches(self.stream, self._batch_size):
            self._batches += 1
            refuse_weights(batch, "torchtitan's loss takes labels alone; use a loop with curatord.adapters.pytorch")
            found = tensors(batch, shifted=True)
            yield {"input": found["input_ids"], "positions": found["position_ids"]}, found["labels"]

    def state_dict(self) -> dict[str, Any]:
        """The same on every rank: one line of text, which a checkpoint stores once."""
        return {STATE: json.dumps(self.stream.state_dict(consumed=self._batches * self._batch_size))}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where it was taken, under any data-parallel degree. An empty one changes nothing."""
        if state_dict:
            self.stream.load_state_dict(json.loads(state_dict[STATE]))
            self._batches = 0
