"""A stream in its folder, its arms, and what models that train on them say of the documents that are held out."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers

from benchmarks.value import arms, decoder, loop
from benchmarks.value.arms import FILTERS, Piece
from benchmarks.value.kneser_ney import KneserNey
from benchmarks.value.stream import ENGLISH, NATURAL, Split, Streamed, build, split

STREAM_BYTES = 14_000_000
CLEAN = "gopher + languages"
CLEAN_PAGES = "gopher + languages, pages"
# Of a stream that is short against its buffers the older half goes out (record 45).
MIXTURE = FILTERS + "[mixture]\nrho = 0.5\nbuffer_documents = 6\n"
TARGET = '[target]\nfiles = ["{wanted}"]\nagainst = ["{stream}"]\n'
BANDIT = "[bandit]\nenabled = true\nkeep_ratio = 0.5\n"
# What selects: the arm that it selects from, and options; {wanted} and {stream} are files.
SELECTING = {
    "ClusterClip": (CLEAN, MIXTURE + "size_power = 0\n"),
    "mixture": (CLEAN, MIXTURE),
    "target": (CLEAN, FILTERS + TARGET + "keep_ratio = 0.5\n"),
    "bandit by target": (CLEAN, FILTERS + TARGET + BANDIT + 'reward = ["target"]\n'),
}
# What selects by a model that trains meanwhile on one of so many rows, in the closed loop, on pages.
LOOP_STRIDE = 4
LOOPED = {
    CLEAN_PAGES: FILTERS,
    "bandit by influence": FILTERS
    + BANDIT
    + 'reward = ["influence"]\nprobe_ratio = 0.05\n[topics]\nprobes = "probes"\n[probes]\nmax_tokens = 256\n',
    "ado": MIXTURE + 'rule = "ado"\nover = "clusters"\n',
}
# Closed loops with losses alone. A bandit that hears nothing thins at random.
LOSSES = FILTERS + "[feedback]\nhalf_life_steps = 40\n[bandit]\nenabled = true\nkeep_ratio = 0.3\ndiscount = 0.9\n"
CLOSED = {
    "off": FILTERS,
    "random thinning": LOSSES + 'reward = ["silent"]\n',
    "live losses": LOSSES + 'reward = ["progress"]\n',
}
CLOSED_STEPS = 100
WANTED_DOCUMENTS = 40  # a domain, of those that no stream holds
REFERENCE_DOCUMENTS = 8  # of them, for the scorer


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

    @property
    def lessons(self) -> Path:
        """Vectors that the teacher gave, which all streams share."""
        return self.folder.parent / arms.LESSONS

    def pieces(self, arm: str) -> list[Piece]:
        """Everything that an arm gives, in its order."""
        if arm in LOOPED:
            trainer = loop.Trainer(seed=self.seed, stride=LOOP_STRIDE, num_steps=0 if arm == CLEAN_PAGES else None)
            return self.looped(arm, LOOPED[arm], trainer).pieces
        if arm in arms.CLEANING or arm in SELECTING:
            config = arms.CLEANING[arm] if arm in arms.CLEANING else SELECTING[arm][1]
            inputs = self.folder / "stream.jsonl"
            config = config.replace("{stream}", str(inputs)).replace("{wanted}", str(self.folder / "wanted.jsonl"))
            return arms.curated(config, inputs, self._folder_of(arm), self.tokenizer_path, self.lessons)
        chosen: Mapping[str, Callable[[], Iterable[Streamed]]] = {
            "raw": lambda: self.stream,
            "like datatrove": lambda: arms.like_datatrove(self.stream),
            "oracle": lambda: (row for row in self.stream if row.kind.startswith("good")),
        }
        return list(arms.plain(chosen[arm](), self.tokenizer))

    def looped(self, arm: str, config: str, trainer: loop.Trainer) -> loop.Looped:
        """A closed loop over the stream, in pages."""
        reference = self._reference() if "influence" in config else []
        return loop.run(
            config, self.stream, self._folder_of(arm), self.tokenizer_path, self.lessons, trainer, reference
        )

    def _folder_of(self, arm: str) -> Path:
        return self.folder / arm.replace(" ", "-").replace("+", "and").replace(",", "")

    def _reference(self) -> list[str]:
        rows = [json.loads(line) for line in (self.folder / "wanted.jsonl").open(encoding="utf-8")]
        return [row["text"] for number, row in enumerate(rows) if number % WANTED_DOCUMENTS < REFERENCE_DOCUMENTS]


def wanted(data: Split, stream: Sequence[Streamed]) -> list[Streamed]:
    """As many documents of each domain, none of which is in the stream, as a user would name who wants all alike."""
    taken = {row.base for row in stream}
    chosen = []
    for domain, originals in data.training.items():
        others = [original for original in originals if original.id not in taken]
        chosen += [Streamed(o.id, f"good:{domain}", o.id, o.text) for o in others[-WANTED_DOCUMENTS:]]
    return chosen


def known_split(corpora: Path, work: Path) -> Split:
    """The documents of every domain, which take a while to be compared, from the work folder where they are there."""
    path = work / "split.pickle"
    if not path.exists():
        path.write_bytes(pickle.dumps(split(corpora)))
    found: Split = pickle.loads(path.read_bytes())
    return found


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
    order = np.random.default_rng(world.seed).permutation(len(pieces))
    ids = np.concatenate([pieces[place].tokens_T for place in order]).astype(np.int32)
    weights = np.concatenate([np.full(len(pieces[i].tokens_T), pieces[i].weight, np.float32) for i in order])
    width = arms.CONTEXT_LENGTH + 1
    num_rows = len(ids) // width
    rows, row_weights = (column[: num_rows * width].reshape(num_rows, width) for column in (ids, weights))
    return model_score(world, decoder.train(rows, row_weights, arms.VOCABULARY, world.seed, rate))


def model_score(world: World, model: decoder.Decoder) -> dict[str, float]:
    """Bits per byte by domain of a decoder, over the beginnings of documents."""
    found = {}
    for domain, texts in held_out(world).items():
        texts_T = [ids_T.astype(np.int32) for ids_T, _ in texts]
        heard = [
            min(1.0, arms.CONTEXT_LENGTH / len(ids_T)) * size for ids_T, (_, size) in zip(texts_T, texts, strict=True)
        ]
        found[domain] = sum(decoder.bits(model, texts_T, arms.CONTEXT_LENGTH)) / sum(heard)
    return found
