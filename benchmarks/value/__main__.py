"""The worth of training on this, against training on something else.

    python -m benchmarks.value [--streams N] [--train] [--arms NAME ...] [--work FOLDER]

Streams of 14 MB with known ills (`stream.py`); bits per byte, at equal tokens, of held-out documents of nine domains,
by a Kneser-Ney model of order 4 and, with --train, by a small decoder at two learning rates. Three means: of all
domains, of the English ones, and weighted by the domains' shares of the stream. Differences are paired by stream, with
95 % t-intervals over streams. Results lie in the work folder, and none is computed twice.

Arms that clean are compared with the raw stream, arms that select with a random thinning of what they selected from.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
from scipy import stats

from benchmarks.value import arms
from benchmarks.value.arms import Piece
from benchmarks.value.kneser_ney import KneserNey
from benchmarks.value.stream import ENGLISH, NATURAL, Split, Streamed, build, split

CORPORA = Path(os.environ.get("CURATORD_TEST_CORPORA", Path(__file__).parents[3] / "shared" / "corpora"))
STREAM_BYTES = 14_000_000
CLEANING_TOKENS, SELECTING_TOKENS, TRAINING_TOKENS = 2_000_000, 1_000_000, 614_400
RATES = (1.0, 0.25)
SHARE = "share of the tokens"  # that an arm could give; below 1 it trains on less than its control
CLEANING = "cleaning"  # the other tiers select
MEANS = ("macro", "English", "natural")

CLEAN = "gopher + languages"
# Of a stream that is short against its buffers the older half goes out (record 45).
MIXTURE = arms.FILTERS + "[mixture]\nrho = 0.5\nbuffer_documents = 6\n"
TARGET = '[target]\nfiles = ["{wanted}"]\nagainst = ["{stream}"]\n'
# What selects: the arm that it selects from, and options; {wanted} and {stream} are files.
SELECTING = {
    "ClusterClip": (CLEAN, MIXTURE + "size_power = 0\n"),
    "mixture": (CLEAN, MIXTURE),
    "target": (CLEAN, arms.FILTERS + TARGET + "keep_ratio = 0.5\n"),
    "bandit by target": (
        CLEAN,
        arms.FILTERS + TARGET + '[bandit]\nenabled = true\nkeep_ratio = 0.5\nreward = ["target"]\n',
    ),
}
WANTED_DOCUMENTS = 40  # a domain, of those that no stream holds


@dataclass(frozen=True, slots=True)
class World:
    """One stream and what belongs to it."""

    data: Split
    seed: int
    stream: list[Streamed]
    folder: Path
    tokenizer_path: Path

    @property
    def tokenizer(self) -> tokenizers.Tokenizer:
        return tokenizers.Tokenizer.from_file(str(self.tokenizer_path))

    def pieces(self, arm: str) -> list[Piece]:
        """Everything that an arm gives, in its order."""
        if arm in arms.CLEANING or arm in SELECTING:
            config = arms.CLEANING[arm] if arm in arms.CLEANING else SELECTING[arm][1]
            name = arm.replace(" ", "-").replace("+", "and")
            inputs = self.folder / "stream.jsonl"
            config = config.replace("{stream}", str(inputs)).replace("{wanted}", str(self.folder / "wanted.jsonl"))
            lessons = self.folder / "lessons.sqlite"
            return arms.curated(config, inputs, self.folder / name, self.tokenizer_path, lessons)
        chosen: Mapping[str, Callable[[], Iterable[Streamed]]] = {
            "raw": lambda: self.stream,
            "like datatrove": lambda: arms.like_datatrove(self.stream),
            "oracle": lambda: (row for row in self.stream if row.kind.startswith("good")),
        }
        return list(arms.plain(chosen[arm](), self.tokenizer))


def held_out(world: World) -> dict[str, list[tuple[np.ndarray, int]]]:
    """By domain: tokens and bytes of each held-out document."""
    tokenizer = world.tokenizer
    return {
        domain: [
            (np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int64), len(text.encode()))
            for text in texts
        ]
        for domain, texts in world.data.held.items()
    }


def means(bits_per_byte: Mapping[str, float]) -> dict[str, float]:
    """Of all domains, of the English ones, and by share of the stream."""
    return {
        "macro": float(np.mean([bits_per_byte[domain] for domain in NATURAL])),
        "English": float(np.mean([bits_per_byte[domain] for domain in ENGLISH])),
        "natural": sum(share * bits_per_byte[domain] for domain, share in NATURAL.items()),
    }


def n_gram_score(world: World, pieces: Sequence[Piece]) -> dict[str, float]:
    """Bits per byte by domain after the tokens of `pieces`."""
    ids = np.concatenate([piece.tokens_T for piece in pieces]).astype(np.int64)
    model = KneserNey.of(ids, arms.VOCABULARY)
    return {
        domain: sum(model.bits(ids_T) for ids_T, _ in texts) / sum(size for _, size in texts)
        for domain, texts in held_out(world).items()
    }


def decoder_score(world: World, pieces: Sequence[Piece], rate: float) -> dict[str, float]:
    """Bits per byte by domain of a decoder that was trained on the pieces, joined in random order and cut to rows."""
    from benchmarks.value import decoder

    order = np.random.default_rng(world.seed).permutation(len(pieces))
    ids = np.concatenate([pieces[place].tokens_T for place in order]).astype(np.int32)
    weights = np.concatenate([np.full(len(pieces[i].tokens_T), pieces[i].weight, np.float32) for i in order])
    width = arms.CONTEXT_LENGTH + 1
    num_rows = len(ids) // width
    rows, row_weights = (column[: num_rows * width].reshape(num_rows, width) for column in (ids, weights))
    model = decoder.train(rows, row_weights, arms.VOCABULARY, world.seed, rate)
    found = {}
    for domain, texts in held_out(world).items():
        texts_T = [ids_T.astype(np.int32) for ids_T, _ in texts]
        heard = [
            min(1.0, arms.CONTEXT_LENGTH / len(ids_T)) * size for ids_T, (_, size) in zip(texts_T, texts, strict=True)
        ]
        found[domain] = sum(decoder.bits(model, texts_T, arms.CONTEXT_LENGTH)) / sum(heard)
    return found


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


def wanted(data: Split, stream: Sequence[Streamed]) -> list[Streamed]:
    """As many documents of each domain, none of which is in the stream, as a user would name who wants all alike."""
    taken = {row.base for row in stream}
    chosen = []
    for domain, originals in data.training.items():
        others = [original for original in originals if original.id not in taken]
        chosen += [Streamed(o.id, f"good:{domain}", o.id, o.text) for o in others[-WANTED_DOCUMENTS:]]
    return chosen


def prepare(data: Split, seed: int, work: Path) -> World:
    """A stream in its folder."""
    folder = work / f"stream-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    stream = build(data, seed, STREAM_BYTES)
    if not (folder / "stream.jsonl").exists():
        arms.write_stream(stream, folder / "stream.jsonl")
    if not (folder / "wanted.jsonl").exists():
        arms.write_stream(wanted(data, stream), folder / "wanted.jsonl")
    return World(data, seed, stream, folder, work / "tokenizer.json")


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
            parts = ", ".join(f"{kind} {share:.3f}" for kind, share in arms.composition(kept[arm]).items())
            print(f"stream {world.seed}, {arm}: {arms.num_tokens(kept[arm]):,} tokens; {parts}", flush=True)
        return kept[arm]

    def trial(tier: str, arm: str, num_tokens: int, rate: float = 0.0) -> None:
        def compute() -> dict[str, float]:
            if tier == CLEANING:
                chosen = arms.first(pieces_of(arm), num_tokens)
            else:
                chosen = arms.thinned(pieces_of(arm), num_tokens, world.seed)
            score = decoder_score(world, chosen, rate) if rate else n_gram_score(world, chosen)
            return {**score, SHARE: min(1.0, arms.num_tokens(chosen) / num_tokens)}

        key = {"stream": world.seed, "tier": tier, "arm": arm}
        found[tier, arm] = scores.of(key, compute)
        print(f"stream {world.seed}, {tier}, {arm}: {means(found[tier, arm])}", flush=True)

    for arm in ["raw", "like datatrove", *arms.CLEANING, "oracle"]:
        trial(CLEANING, arm, CLEANING_TOKENS)
    tiers = [("selecting", SELECTING_TOKENS, 0.0)]
    if options.train:
        tiers += [(f"decoder, rate {rate}", TRAINING_TOKENS, rate) for rate in RATES]
    for tier, num_tokens, rate in tiers:
        for arm in dict.fromkeys([*(base for base, _ in SELECTING.values()), *options.arms]):
            trial(tier, arm, num_tokens, rate)
    return found


def main() -> None:
    """Measure every arm on every stream, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=3)
    parser.add_argument("--arms", nargs="*", default=list(SELECTING), choices=list(SELECTING))
    parser.add_argument("--train", action="store_true", help="also train the decoder, for minutes an arm and stream")
    parser.add_argument("--work", type=Path, help="a folder that keeps what was computed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work: Path = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        data = split(CORPORA)
        if not (work / "tokenizer.json").exists():
            arms.train_tokenizer(data, work / "tokenizer.json")
        seeds = range(options.streams)
        measured = {seed: measure(prepare(data, seed, work), options, Scores(work / "scores.jsonl")) for seed in seeds}
    tiers = dict.fromkeys(tier for found in measured.values() for tier, _ in found)
    for tier in tiers:
        scores = {(arm, seed): found for seed in seeds for (t, arm), found in measured[seed].items() if t == tier}
        cleaning = [(arm, "raw") for arm in ("like datatrove", *arms.CLEANING, "oracle")]
        print(f"\n{tier}")
        pairs = cleaning if tier == CLEANING else [(arm, SELECTING[arm][0]) for arm in options.arms]
        compare(pairs, scores, seeds)


if __name__ == "__main__":
    main()
