"""A transformer of one layer that is small enough for its exact Fisher matrix, and documents of eight topics."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import torch

VOCABULARY, WIDTH, HIDDEN, LENGTH, TOPICS = 24, 12, 24, 16, 8
REFERENCE_TOPICS = (0, 1)


class Toy(torch.nn.Module):
    """Called as a causal model of transformers is; 1,152 weights in its linear layers."""

    def __init__(self) -> None:
        super().__init__()
        linear = torch.nn.Linear
        self.e, self.p = torch.nn.Embedding(VOCABULARY, WIDTH), torch.nn.Embedding(LENGTH, WIDTH)
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.up, self.down = linear(WIDTH, HIDDEN, bias=False), linear(HIDDEN, WIDTH, bias=False)
        self.u = linear(WIDTH, VOCABULARY, bias=False)
        self.n1, self.n2, self.n3 = (torch.nn.LayerNorm(WIDTH) for _ in range(3))

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.e

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.u

    def forward(self, input_ids, attention_mask=None, use_cache=False) -> SimpleNamespace:
        length = input_ids.shape[1]
        h = self.e(input_ids) + self.p(torch.arange(length))
        a = self.n1(h)
        weights = self.q_proj(a) @ self.k_proj(a).transpose(1, 2) / math.sqrt(WIDTH)
        future = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)
        h = h + self.o_proj(weights.masked_fill(future, -1e9).softmax(-1) @ self.v_proj(a))
        return SimpleNamespace(logits=self.u(self.n3(h + self.down(torch.relu(self.up(self.n2(h)))))))


def topics(seed: int = 0, *, each: int = 60, reference: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Documents of every topic in turn, [8 * each, 17], and a reference of two topics: walks of Markov chains."""
    rng = np.random.default_rng(seed)
    chains = [rng.dirichlet(np.full(VOCABULARY, 0.12), size=VOCABULARY) for _ in range(TOPICS)]

    def walks(topic: int, number: int) -> np.ndarray:
        ids = np.zeros((number, LENGTH + 1), np.int64)
        ids[:, 0] = rng.integers(0, VOCABULARY, number)
        for t in range(LENGTH):
            for row in range(number):
                ids[row, t + 1] = rng.choice(VOCABULARY, p=chains[topic][ids[row, t]])
        return ids

    documents = np.concatenate([walks(topic, each) for topic in range(TOPICS)])
    return documents, np.concatenate([walks(topic, reference) for topic in REFERENCE_TOPICS])


def trained(documents: np.ndarray, *, steps: int = 600, seed: int = 0) -> Toy:
    """A toy that has learned the documents, in double precision."""
    torch.manual_seed(seed)
    single = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        model, ids = Toy(), torch.from_numpy(documents)
    finally:
        torch.set_default_dtype(single)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(steps):
        batch = ids[torch.randint(0, len(ids), (48,))]
        logits = model(batch[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.requires_grad_(False)


def weights_of(model: Toy) -> dict[str, torch.Tensor]:
    """The weights of the linear layers, but for the output's."""
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "up", "down")
    return {name: weight.detach() for name, weight in model.named_parameters() if name.split(".")[0] in names}


def weight_gradients(model: Toy, documents: np.ndarray) -> torch.Tensor:
    """Gradients of the summed loss of each document by all these weights, [B, 1152]."""

    def loss(weights, ids):
        logits = torch.func.functional_call(model, weights, (ids[None, :-1],)).logits[0]
        return torch.nn.functional.cross_entropy(logits, ids[1:], reduction="sum")

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))
    return torch.cat(
        [part.flatten(1) for part in gradients(weights_of(model), torch.from_numpy(documents)).values()], 1
    )


def fisher(model: Toy, documents: np.ndarray) -> torch.Tensor:
    """The Fisher matrix, exactly: `Σ_t J_t' (diag p - p p') J_t`, the mean over documents."""

    def logits(weights, ids):
        return torch.func.functional_call(model, weights, (ids[None, :-1],)).logits[0]

    total = torch.zeros(1152, 1152, dtype=torch.float64)
    jacobian = torch.func.vmap(torch.func.jacrev(logits), in_dims=(None, 0))
    for ids in torch.from_numpy(documents).split(16):
        of_all = torch.cat(
            [part.flatten(3) for part in jacobian(weights_of(model), ids).values()], 3
        )  # [B, T, V, 1152]
        chances = model(ids[:, :-1]).logits.softmax(-1)[..., None]
        centred = chances.sqrt() * (of_all - (chances * of_all).sum(2, keepdim=True))
        total += centred.flatten(0, 2).T @ centred.flatten(0, 2)
    return total / len(documents)


def exact_influence(
    model: Toy, documents: np.ndarray, reference: np.ndarray, of_all: torch.Tensor, damping: float
) -> np.ndarray:
    """`g_r' (H + λ)^-1 g` of every document; λ over the mean of H's diagonal."""
    pull = weight_gradients(model, reference).mean(0)
    damped = of_all + damping * of_all.diagonal().mean() * torch.eye(len(of_all))
    return (weight_gradients(model, documents) @ torch.linalg.solve(damped, pull)).numpy()
