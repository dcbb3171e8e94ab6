"""Small causal models of transformers, as a trainer saves them."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

VOCABULARY = 258  # bytes, BOS and EOS


def byte_tokens(text: str) -> list[int]:
    return [256, *text.encode(), 257]


def save_model(folder: Path, *, texts: tuple[str, ...] = (), written_s: float = 1e9) -> None:
    """A Llama of one layer, which has seen some texts; its files are of a moment, in seconds since 1970."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=64, bos_token_id=256, eos_token_id=257,
        )
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(30 if texts else 0):
        for text in texts:
            ids = torch.tensor([byte_tokens(text)[:64]])
            loss = model(input_ids=ids, labels=ids).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.save_pretrained(folder)
    for file in folder.iterdir():
        os.utime(file, (written_s, written_s))
