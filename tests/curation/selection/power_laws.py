"""Domains whose losses follow power laws, trained on by a rule: the simulation that the rules are held to."""

from __future__ import annotations

import numpy as np

from curation.selection.loss_shares import LossShares, Rule

DOMAINS, STEPS, TOKENS = 8, 400, 1000


def losses_after(rule: Rule | None, seed: int, steps: int = STEPS) -> tuple[float, float]:
    """Mean loss over domains, and weighted by natural shares, after equal tokens; without a rule by natural shares."""
    rng = np.random.default_rng(seed)
    floors, scales = rng.uniform(1, 3, DOMAINS), rng.uniform(1, 6, DOMAINS) * 10
    exponents, natural = rng.uniform(0.15, 0.6, DOMAINS), rng.dirichlet(np.full(DOMAINS, 1.5))
    names = [f"d{n}" for n in range(DOMAINS)]
    prior = dict(zip(names, natural.tolist(), strict=True))

    def loss(amounts):
        return floors + scales * amounts**-exponents

    of_reference = dict(zip(names, loss(natural * TOKENS * steps).tolist(), strict=True))
    shares = None if rule is None else LossShares(rule, of_reference)
    amounts, now = np.full(DOMAINS, 20.0), natural
    for _ in range(steps):
        amounts = amounts + now * TOKENS
        seen = loss(amounts) + rng.normal(0, 0.02, DOMAINS)
        if shares is not None:
            targets = np.maximum(now * TOKENS, 1).astype(int)
            shares.observe("run", {name: (seen[n] * targets[n], int(targets[n])) for n, name in enumerate(names)})
            found = shares.step(prior)
            now = np.array([found[name] for name in names])
    return float(loss(amounts).mean()), float((natural * loss(amounts)).sum())
