"""A decoder of a third of a million parameters, which trains on some thousand tokens in a second of one core."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

WIDTH, LAYERS, HEADS, HIDDEN = 64, 2, 2, 128
ROWS_A_STEP = 4
WARM_UP_STEPS = 10
MATRIX_RATE, OTHER_RATE = 0.02, 0.004


class Block(nn.Module):
    """Attention with normed queries and keys, then SwiGLU."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention, self.before_hidden = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.query_key_value = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 2 * HIDDEN, bias=False)
        self.down = nn.Linear(HIDDEN, WIDTH, bias=False)
        self.query_norm, self.key_norm = nn.RMSNorm(WIDTH // HEADS), nn.RMSNorm(WIDTH // HEADS)

    def forward(self, states_BTD: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        num_rows, length, _ = states_BTD.shape
        parts = self.query_key_value(self.before_attention(states_BTD)).view(num_rows, length, 3, HEADS, -1)
        query, key, value = parts.unbind(2)
        query, key = (_rotated(norm(x), cos, sin) for norm, x in ((self.query_norm, query), (self.key_norm, key)))
        heard = functional.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), is_causal=True
        )
        states_BTD = states_BTD + self.out(heard.transpose(1, 2).reshape(num_rows, length, WIDTH))
        gate, up = self.up(self.before_hidden(states_BTD)).chunk(2, -1)
        return states_BTD + self.down(functional.silu(gate) * up)


def _rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = states.chunk(2, -1)
    return torch.cat([left * cos - right * sin, left * sin + right * cos], -1)


class Decoder(nn.Module):
    """Token ids (B, T) to logits (B, T, V), with tied embeddings and rotary positions; called as transformers does."""

    def __init__(self, vocabulary: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(vocabulary, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.RMSNorm(WIDTH)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, 0, (0.4 / parameter.shape[1]) ** 0.5)
        nn.init.normal_(self.embedding.weight, 0, 0.02)

    def forward(self, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        half = WIDTH // HEADS // 2
        rates = 10_000.0 ** (-torch.arange(half) / half)
        angles = torch.arange(input_ids.shape[1])[:, None] * rates
        cos, sin = angles.cos()[None, :, None], angles.sin()[None, :, None]
        states = self.embedding(input_ids)
        for block in self.blocks:
            states = block(states, cos, sin)
        return SimpleNamespace(logits=functional.linear(self.norm(states), self.embedding.weight))

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding

    get_output_embeddings = get_input_embeddings  # they are tied


class Training:
    """A decoder on its way. `schedule` gives the share of the learning rates by step; `rate` scales both of them."""

    def __init__(self, vocabulary: int, seed: int, rate: float, schedule: Callable[[int], float]) -> None:
        torch.set_num_threads(1)
        self.model = Decoder(vocabulary, seed)
        matrices = [p for block in self.model.blocks for p in block.parameters() if p.dim() == 2]
        others = [p for p in self.model.parameters() if not any(p is matrix for matrix in matrices)]
        self._optimizers: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(matrices, lr=MATRIX_RATE * rate, weight_decay=0.0),
            torch.optim.AdamW(others, lr=OTHER_RATE * rate, betas=(0.9, 0.95), weight_decay=0.0),
        )
        self._schedules = [torch.optim.lr_scheduler.LambdaLR(each, schedule) for each in self._optimizers]
        self.num_steps = 0

    def step(self, ids_BT: NDArray[np.integer], weights_BT: NDArray[np.float32]) -> NDArray[np.float32]:
        """Train on rows; the losses of all tokens but the first, each of which counts by its weight."""
        ids, weights = torch.from_numpy(ids_BT.astype(np.int64)), torch.from_numpy(weights_BT[:, 1:])
        losses = functional.cross_entropy(self.model(ids[:, :-1]).logits.transpose(1, 2), ids[:, 1:], reduction="none")
        torch.autograd.backward((losses * weights).sum() / weights.sum().clamp(min=1.0))
        for optimizer, schedule in zip(self._optimizers, self._schedules, strict=True):
            optimizer.step()
            schedule.step()
        self.model.zero_grad(set_to_none=True)
        self.num_steps += 1
        return losses.detach().numpy()


def train(
    rows_BT: NDArray[np.int32], weights_BT: NDArray[np.float32], vocabulary: int, seed: int, rate: float = 1.0
) -> Decoder:
    """One pass over the rows (B, T + 1), each token's loss times its weight."""
    num_steps = len(rows_BT) // ROWS_A_STEP
    training = Training(vocabulary, seed, rate, lambda step: falling(step, num_steps))
    for step in range(num_steps):
        chosen = slice(step * ROWS_A_STEP, (step + 1) * ROWS_A_STEP)
        training.step(rows_BT[chosen], weights_BT[chosen])
    return training.model


def falling(step: int, num_steps: int) -> float:
    """A share of the learning rate that rises at first, and falls to nothing in the second half."""
    return min(1.0, (step + 1) / WARM_UP_STEPS) * min(1.0, (num_steps - step) / (0.5 * num_steps))


@torch.no_grad()
def bits(model: Decoder, texts: Sequence[NDArray[np.int32]], length: int) -> list[float]:
    """The bits that the first `length` tokens of each text take, but for its first."""
    found = []
    for ids_T in texts:
        ids = torch.from_numpy(ids_T[:length].astype(np.int64))[None]
        loss = functional.cross_entropy(model(ids[:, :-1]).logits[0], ids[0, 1:], reduction="sum")
        found.append(float(loss) / math.log(2))
    return found
