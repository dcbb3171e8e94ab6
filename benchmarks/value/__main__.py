"""The worth of training on this, against training on something else.

    python -m benchmarks.value [--streams SEED ...] [--tiers cleaning selecting decoder loop] [--arms NAME ...]
                               [--work FOLDER]

Streams of 14 MB with known ills (`stream.py`); bits per byte, at equal tokens, of held-out documents of nine domains,
by a Kneser-Ney model of order 4 or a small decoder at two learning rates. Three means: of all domains, of the English
ones, and weighted by the domains' shares of the stream. Differences are paired by stream, with 95 % t-intervals over
streams. Results lie in the work folder, and none is computed twice.

Arms that clean are compared with the raw stream, arms that select with a random thinning of what they selected from.
Those that learn from a model run in a closed loop (`loop.py`), and the tier `loop` is the model of such a loop itself.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.value import arms, loop
from benchmarks.value.arms import Piece
from benchmarks.value.stream import NATURAL
from benchmarks.value.world import (
    CLEAN_PAGES,
    CLOSED,
    CLOSED_STEPS,
    LOOPED,
    SELECTING,
    World,
    decoder_score,
    known_split,
    means,
    model_score,
    n_gram_score,
    prepare,
)
from tests.corpus import CORPORA

CLEANING_TOKENS, SELECTING_TOKENS, TRAINING_TOKENS = 2_000_000, 1_000_000, 614_400
RATES = (1.0, 0.25)
SHARE = "share of the tokens"  # that an arm could give; below 1 it trains on less than its control
CLEANING, CLOSED_LOOP = "cleaning", "closed loop"  # the other tiers select
MEANS = ("macro", "English", "natural")
ARMS = [*SELECTING, *(arm for arm in LOOPED if arm != CLEAN_PAGES)]


@dataclass(frozen=True, slots=True)
class Scores:
    """Results so far, kept in a file."""

    path: Path

    def of(self, key: Mapping[str, object], compute: Callable[[], dict[str, float]]) -> dict[str, float]:
        """The bits per byte by domain of a trial that `key` names."""
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                row = json.loads(line)
                if row["key"] == dict(key):
                    return dict(row["value"])
        value = compute()
        with self.path.open("a") as file:
            file.write(json.dumps({"key": dict(key), "value": value}) + "\n")
        return value


def compare(
    trials: Sequence[tuple[str, str]], scores: Mapping[tuple[str, int], dict[str, float]], seeds: Sequence[int]
) -> None:
    """Print, for each pair of an arm and its control, the difference of the means with its interval over streams."""
    print(f"{'':40}" + "".join(f"{name:>22}" for name in MEANS) + f"{'worst domain':>26}")
    for arm, control in trials:
        columns = []
        differences = [
            {domain: scores[arm, seed][domain] - scores[control, seed][domain] for domain in NATURAL} for seed in seeds
        ]
        for name in MEANS:
            values = [means(scores[arm, seed])[name] - means(scores[control, seed])[name] for seed in seeds]
            columns.append(f"{np.mean(values):+.3f} ± {half_width(values):.3f}")
        by_domain = {domain: float(np.mean([row[domain] for row in differences])) for domain in NATURAL}
        worst = max(by_domain, key=lambda domain: by_domain[domain])
        label = f"{arm} − {control}"
        share = float(np.mean([scores[arm, seed][SHARE] for seed in seeds]))
        print(
            f"{label:40}"
            + "".join(f"{text:>22}" for text in columns)
            + f"{worst:>18} {by_domain[worst]:+.3f}"
            + (f"   of {share:.0%} of the tokens" if share < 0.99 else "")
        )


def half_width(values: Sequence[float]) -> float:
    """Of the 95 % t-interval of the mean."""
    if len(values) < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)


def measure(world: World, options: argparse.Namespace, scores: Scores) -> dict[tuple[str, str], dict[str, float]]:
    """Every trial of one stream, by its tier and arm."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    kept: dict[str, list[Piece]] = {}

    def pieces_of(arm: str) -> list[Piece]:
        if arm not in kept:
            kept[arm] = world.pieces(arm)
            tell(arm, kept[arm])
        return kept[arm]

    def tell(arm: str, pieces: Sequence[Piece]) -> None:
        parts = ", ".join(f"{kind} {share:.3f}" for kind, share in arms.composition(pieces).items())
        print(f"stream {world.seed}, {arm}: {arms.num_tokens(pieces):,} tokens; {parts}", flush=True)

    def trial(tier: str, arm: str, compute: Callable[[], dict[str, float]]) -> None:
        found[tier, arm] = scores.of({"stream": world.seed, "tier": tier, "arm": arm}, compute)
        print(f"stream {world.seed}, {tier}, {arm}: {means(found[tier, arm])}", flush=True)

    def on_pieces(tier: str, arm: str, num_tokens: int, rate: float = 0.0) -> None:
        def compute() -> dict[str, float]:
            if tier == CLEANING:
                chosen = arms.first(pieces_of(arm), num_tokens)
            else:
                chosen = arms.thinned(pieces_of(arm), num_tokens, world.seed)
            score = decoder_score(world, chosen, rate) if rate else n_gram_score(world, chosen)
            return {**score, SHARE: min(1.0, arms.num_tokens(chosen) / num_tokens)}

        trial(tier, arm, compute)

    def in_loop(tier: str, arm: str, rate: float) -> None:
        def compute() -> dict[str, float]:
            trainer = loop.Trainer(seed=world.seed, rate=rate, num_steps=CLOSED_STEPS)
            looped = world.looped(f"{arm} {rate}", CLOSED[arm], trainer)
            tell(f"{tier}, {arm}, of {looped.num_pages:,} pages", looped.pieces)
            return {**model_score(world, looped.model), SHARE: 1.0}

        trial(tier, arm, compute)

    for arm in ["raw", "like datatrove", *arms.CLEANING, "oracle"] if "cleaning" in options.tiers else []:
        on_pieces(CLEANING, arm, CLEANING_TOKENS)
    tiers = [("selecting", SELECTING_TOKENS, 0.0)] if "selecting" in options.tiers else []
    if "decoder" in options.tiers:
        tiers += [(f"decoder, rate {rate}", TRAINING_TOKENS, rate) for rate in RATES]
    for tier, num_tokens, rate in tiers:
        for arm in dict.fromkeys([*(control_of(arm) for arm in options.arms), *options.arms]):
            on_pieces(tier, arm, num_tokens, rate)
    for rate in RATES if "loop" in options.tiers else ():
        for arm in CLOSED:
            in_loop(f"{CLOSED_LOOP}, rate {rate}", arm, rate)
    return found


def control_of(arm: str) -> str:
    """The arm that one selects from."""
    return CLEAN_PAGES if arm in LOOPED else SELECTING[arm][0]


def pairs_of(tier: str, chosen: Sequence[str]) -> list[tuple[str, str]]:
    """Arms, each with the one that it is compared with."""
    if tier == CLEANING:
        return [(arm, "raw") for arm in ("like datatrove", *arms.CLEANING, "oracle")]
    if tier.startswith(CLOSED_LOOP):
        return [("live losses", "off"), ("live losses", "random thinning"), ("random thinning", "off")]
    return [(arm, control_of(arm)) for arm in chosen]


def main() -> None:
    """Measure every arm on every stream, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="*", default=[0, 1, 2], help="their seeds")
    parser.add_argument("--arms", nargs="*", default=list(SELECTING), choices=ARMS, help="that select")
    parser.add_argument(
        "--tiers", nargs="*", default=["cleaning", "selecting"], choices=["cleaning", "selecting", "decoder", "loop"]
    )
    parser.add_argument("--work", type=Path, help="a folder that keeps what was computed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work: Path = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        data = known_split(CORPORA, work)
        if not (work / "tokenizer.json").exists():
            arms.train_tokenizer(data, work / "tokenizer.json")
        scores = Scores(work / "scores.jsonl")
        measured = {seed: measure(prepare(data, seed, work), options, scores) for seed in options.streams}
    for tier in dict.fromkeys(tier for found in measured.values() for tier, _ in found):
        of_tier = {(arm, seed): row for seed, found in measured.items() for (t, arm), row in found.items() if t == tier}
        print(f"\n{tier}")
        compare(pairs_of(tier, options.arms), of_tier, options.streams)


if __name__ == "__main__":
    main()
