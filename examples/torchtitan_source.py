"""torchtitan's dataloader in its place, driven here as its trainer does.

python examples/torchtitan_source.py curated 4096                (a folder, or kafka://broker:9092/sequences)

In a function of your config registry:  trainer_config.dataloader = PackedLoader.Config(dataset_path=url)
"""

from __future__ import annotations

import sys
from itertools import islice

from curatord.adapters.torchtitan import PackedLoader

DEGREE, BATCH = 2, 1


def main(url: str, context_length: str, steps: str = "2") -> None:
    config = PackedLoader.Config(dataset_path=url)
    seen = []
    for rank in range(DEGREE):
        # torchtitan does this with the rank and the degree of data parallelism, and passes more than is needed here.
        loader = config.build(
            dp_world_size=DEGREE, dp_rank=rank, seq_len=int(context_length), local_batch_size=BATCH, tokenizer=None
        )
        for inputs, labels in islice(loader, int(steps)):
            documents = int((inputs["positions"] == 0).sum())
            print(
                f"rank {rank}: {tuple(inputs['input'].shape)} tokens, {documents} segments, "
                f"{int((labels != -100).sum())} targets"
            )
        seen.append(loader.state_dict())

    assert all(state == seen[0] for state in seen)
    alone = config.build(dp_world_size=1, dp_rank=0, seq_len=int(context_length), local_batch_size=BATCH)
    alone.load_state_dict(seen[0])  # under another degree
    print(f"one rank goes on with {alone.state_dict()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
