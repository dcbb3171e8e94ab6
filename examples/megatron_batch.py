"""Micro-batches for Megatron: what a forward_step of pretrain_gpt.py takes from its data iterator.

python examples/megatron_batch.py curated                        (a folder, or kafka://broker:9092/sequences)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

from curatord import PackedStream
from curatord.adapters.megatron import micro_batches

MICRO_BATCH, CONTEXT_PARALLEL = 2, 2


def data_iterator(url: str, *, rank: int, world: int, consumed_train_samples: int) -> Iterator[dict[str, Any]]:
    """In Megatron: parallel_state.get_data_parallel_rank() and _world_size(), args.consumed_train_samples."""
    stream = PackedStream(url, rank=rank, world=world, start=consumed_train_samples)
    return micro_batches(stream, MICRO_BATCH, multiple=2 * CONTEXT_PARALLEL)


def main(url: str, steps: str = "2") -> None:
    for batch in islice(data_iterator(url, rank=0, world=2, consumed_train_samples=0), int(steps)):
        # model(batch["tokens"], batch["position_ids"], None, labels=batch["labels"],
        #       packed_seq_params=batch["packed_seq_params"]), and the loss times batch["loss_mask"].
        packed = batch["packed_seq_params"]
        print(
            f"{tuple(batch['tokens'].shape)} tokens in {len(packed.cu_seqlens_q) - 1} segments, the longest "
            f"{packed.max_seqlen_q}; {int(batch['loss_mask'].sum())} targets"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
