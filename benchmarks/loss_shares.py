"""Shares from losses on domains whose losses follow power laws: each rule against natural shares at equal tokens.

    python -m benchmarks.loss_shares

Eight domains, 400 steps of 1,000 tokens, noise of 0.02 nat, twenty draws; a negative difference is better. Then the
time of a step.
"""

from __future__ import annotations

import time
from typing import get_args

import numpy as np

from curation.selection.loss_shares import LossShares, Rule
from tests.curation.selection.power_laws import losses_after

DRAWS = 20


def main() -> None:
    """A line a rule."""
    natural = np.array([losses_after(None, seed) for seed in range(DRAWS)])
    for rule in get_args(Rule)[1:]:
        differences = np.array([losses_after(rule, seed) for seed in range(DRAWS)]) - natural
        (mean, weighted), (better, better_weighted) = differences.mean(0), (differences < 0).sum(0)
        print(
            f"{rule:10} mean over domains {mean:+.4f}, better in {better} of {DRAWS}; by natural shares "
            f"{weighted:+.4f}, better in {better_weighted}"
        )
    for number in (8, 100):
        shares, prior = LossShares("ado", {}), {f"d{n}": 1 / number for n in range(number)}
        steps = [_step(shares, prior, step) for step in range(100)]
        print(f"ado, {number} domains with full curves: {1000 * float(np.median(steps[80:])):.1f} ms a tick")


def _step(shares: LossShares, prior: dict[str, float], step: int) -> float:
    shares.observe("run", dict.fromkeys(prior, (1000 * (2 + 30 * (1000 * (step + 1)) ** (-0.3)), 1000)))
    began = time.perf_counter()
    shares.step(prior)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
