"""Influence against the exact one, on a transformer that is small enough for its Fisher matrix.

    python -m benchmarks.influence

One layer, 1,152 weights, 480 documents of eight Markov chains, two of which are the reference. Correlation with the
exact `g_r' (H + λ)^-1 g` by document and by the means of clusters, λ over the mean eigenvalue; how often m documents of
each cluster find the two of the reference; then the time of a document in a small Llama of 128 tokens, beside one pass
forward and backward.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from curation.scoring.influence import Influence, batches, token_losses
from tests.curation.scoring import toy

DAMPINGS = (0.1, 1.0)
DRAWS = 400


def _correlation(exact: np.ndarray, found: np.ndarray) -> str:
    topics = [scores.reshape(toy.TOPICS, -1).mean(1) for scores in (exact, found)]
    return f"{np.corrcoef(exact, found)[0, 1]:.4f} {np.corrcoef(*topics)[0, 1]:.4f}"


def _agreement() -> np.ndarray:
    documents, reference = toy.topics()
    model = toy.trained(documents)
    fisher = toy.fisher(model, documents)
    print("correlation with the exact influence: documents, clusters")
    scores = np.zeros(0)
    for damping in DAMPINGS:
        exact = toy.exact_influence(model, documents, reference, fisher, damping)
        gradients = (toy.weight_gradients(model, documents) @ toy.weight_gradients(model, reference).mean(0)).numpy()
        influence = Influence(model, damping=damping)
        influence.fit(list(documents))
        influence.aim(list(reference))
        scores = influence.score(list(documents))[0]
        print(f"damping {damping}: product of gradients {_correlation(exact, gradients)}")
        print(f"damping {damping}: EK-FAC, joint QKV    {_correlation(exact, scores)}")
    return scores.reshape(toy.TOPICS, -1)


def _samples(by_topic: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    for number in (1, 3, 10, 30):
        means = [[rng.choice(topic, number, replace=False).mean() for topic in by_topic] for _ in range(DRAWS)]
        right = np.mean([set(np.argsort(of_draw)[-2:]) == set(toy.REFERENCE_TOPICS) for of_draw in means])
        print(f"{number} documents a cluster: the best two of eight are right in {right:.1%} of {DRAWS} draws")


def _cost() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2048, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4
    )
    model = LlamaForCausalLM(config)
    documents = list(np.random.default_rng(0).integers(0, 2048, (256, 128)))

    def passes() -> None:
        for batch in batches(documents, model):
            token_losses(model, batch).sum().backward()

    took = [_timed(passes) for _ in range(3)]
    influence = Influence(model)
    fit, aim = _timed(lambda: influence.fit(documents)), _timed(lambda: influence.aim(documents[:64]))
    score = min(_timed(lambda: influence.score(documents)) for _ in range(3))
    print(
        f"a document of 128 tokens: scored in {score / min(took):.2f} of the time of a pass of training, factors in "
        f"{fit / min(took):.2f}, reference in {4 * aim / min(took):.2f}"
    )


def _timed(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """All three."""
    torch.set_num_threads(1)
    _samples(_agreement())
    _cost()


if __name__ == "__main__":
    main()
