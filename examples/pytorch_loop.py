"""A training loop of one's own: it trains some steps, saves, and goes on there when it is started again.

python examples/pytorch_loop.py curated checkpoint.pt            (a folder, or kafka://broker:9092/sequences)
"""

from __future__ import annotations

import os
import sys
from itertools import islice
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM

from curatord import PackedStream
from curatord.adapters.pytorch import PackedDataset

BATCH = 2  # sequences of a rank in a step
VOCABULARY = 131_072  # of Tekken, the tokenizer that curatord uses unless told otherwise


def main(url: str, checkpoint: str, steps: str = "5") -> None:
    saved = torch.load(checkpoint) if Path(checkpoint).exists() else {}
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    if saved:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])

    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    stream = PackedStream(url, rank=rank, world=world, start=saved.get("stream"))
    loader = DataLoader(PackedDataset(stream, BATCH), batch_size=None)
    trained = 0
    for batch in islice(loader, int(steps)):
        loss = model(**batch, use_cache=False).loss  # with a cache, documents would see each other
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        trained += 1
        print(f"step {trained}: loss {loss.item():.3f}")

    state = stream.state_dict(consumed=trained * BATCH)  # the same on every rank; loads under any other number
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "stream": state}, checkpoint)
    print(f"saved; the next sequence is {state['next_seq_no']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
