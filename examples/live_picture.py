"""The picture of `make live`: the loss on what is wanted at equal tokens, and what training gets, by reward."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from examples.live_crawl import KINDS

matplotlib.use("agg")
from matplotlib import pyplot as plt

COLOURS = dict(zip(KINDS, ("tab:blue", "tab:green", "tab:orange", "tab:gray"), strict=True))
STYLES = {"influence": "tab:blue", "progress": "tab:red", "none": "black"}
STEPS_A_BIN = 10


@torch.no_grad()
def reference_losses(checkpoints: Path, tokenizer: Path, length: int, texts: Sequence[str]) -> dict[int, float]:
    """Mean loss of a token of the texts, in nats, by the step of each checkpoint."""
    torch.set_num_threads(1)
    encode = Tokenizer.from_file(str(tokenizer)).encode
    tokens = [torch.tensor(encode(text).ids[:length]) for text in texts]
    losses = {}
    for folder in sorted(checkpoints.glob("step-*"), key=lambda folder: int(folder.name.removeprefix("step-"))):
        model = AutoModelForCausalLM.from_pretrained(folder)
        sums = [
            float(cross_entropy(model(ids[None, :-1], use_cache=False).logits[0], ids[1:], reduction="sum"))
            for ids in tokens
        ]
        losses[int(folder.name.removeprefix("step-"))] = sum(sums) / sum(len(ids) - 1 for ids in tokens)
    return losses


def draw(folder: Path, arms: Sequence[str]) -> None:
    """live.png, of all runs in the folder."""
    figure = plt.figure(figsize=(10, 8), layout="constrained")
    grid = figure.add_gridspec(2, len(arms), height_ratios=(3, 2))
    axes = figure.add_subplot(grid[0, :])
    for arm in arms:
        curves = [json.loads(path.read_text()) for path in sorted(folder.glob(f"{arm}-*/reference.json"))]
        for number, curve in enumerate(curves):
            steps = [int(step) for step in curve]
            last = np.mean([list(each.values())[-1] for each in curves])
            label = f"{arm}: {last:.2f} at the end ({len(curves)} seed{'s' * (len(curves) > 1)})"
            axes.plot(steps, list(curve.values()), color=STYLES[arm], alpha=0.7, label="" if number else label)
    axes.set(title="Loss on held-out docstrings, by what the bandit is rewarded with", ylabel="nats a token")
    axes.set(xlabel="optimiser step, of as many tokens each")
    axes.legend()
    for column, arm in enumerate(arms):
        of_arm, tokens = figure.add_subplot(grid[1, column]), tokens_by_kind(folder, arm)
        bins = sorted(tokens)
        shares = np.array([[tokens[place][kind] for place in bins] for kind in KINDS], float)
        shares /= shares.sum(axis=0)
        steps = [STEPS_A_BIN * place for place in bins]
        of_arm.stackplot(steps, shares, colors=[COLOURS[kind] for kind in KINDS], labels=KINDS, alpha=0.8)
        of_arm.set(title=f"What training gets: {arm}", xlabel="optimiser step", ylim=(0, 1), xlim=(0, steps[-1]))
        if arm == arms[0]:
            of_arm.set(ylabel="share of tokens")
            of_arm.legend(loc="lower left", fontsize=8)
    figure.savefig(folder / "live.png", dpi=110)


def tokens_by_kind(folder: Path, arm: str) -> dict[int, Counter[str]]:
    """Tokens that an arm's models were trained on, by bin of steps and kind of document."""
    tokens: dict[int, Counter[str]] = defaultdict(Counter)
    for path in folder.glob(f"{arm}-*/train.0.jsonl"):
        for line in map(json.loads, path.read_text().splitlines()):
            for doc_id, _, length, _ in line["documents"]:
                tokens[line["step"] // STEPS_A_BIN][doc_id.partition("/")[0]] += length
    return tokens
