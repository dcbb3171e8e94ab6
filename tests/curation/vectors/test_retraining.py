"""Retraining: when the student is trained again, on what, and that a stop in the middle changes nothing."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from curation.ticks import TICK_ORDINALS
from curation.vectors.embedder import Embedder, held_out
from curation.vectors.embedding_config import EmbeddingConfig
from curation.vectors.retraining import TRAINING_TICKS, Retraining, Training
from curation.vectors.teacher import Teacher
from curation.vectors.training_sample import Sample
from curatord.errors import ConfigError
from kernels.columns import join_texts
from packing.tokenizer import Tokenizer, TokenizerConfig, open_tokenizer
from state.epoch import Epoch
from state.token_arrays import Tokens
from tests.kept import Kept

CONFIG = EmbeddingConfig(warmup_documents=96, multilingual="none")  # a second teacher would be asked about all of them
TICK = 48

ENGLISH = [
    "the",
    "orbit",
    "of",
    "a",
    "satellite",
    "decays",
    "slowly",
    "while",
    "drag",
    "from",
    "upper",
    "layers",
    "takes",
    "its",
    "energy",
    "away",
]
GERMAN = [
    "Verjährung",
    "Schuldverhältnis",
    "Gläubiger",
    "Leistungspflicht",
    "Rücktritt",
    "Gewährleistung",
    "Abtretung",
    "Bürgschaft",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return open_tokenizer(TokenizerConfig())


@pytest.fixture(scope="module")
def tick_of(tokenizer: Tokenizer) -> Callable[[list[str], int], list[Tokens]]:
    def make(words: list[str], seed: int) -> list[Tokens]:
        rng = random.Random(seed)
        texts = [" ".join(rng.choices(words, k=rng.randrange(5, 40))) for _ in range(TICK)]
        return list(tokenizer.encode_batch(join_texts(texts)))

    return make


TickOf = Callable[[list[str], int], list[Tokens]]


class Lane:
    """An embedder and its retraining over a stream, tick by tick as the daemon goes; `facts` is what it would store."""

    def __init__(self, tokenizer: Tokenizer, config: EmbeddingConfig = CONFIG, *, lessons: Path | None = None) -> None:
        self.embedder = Embedder(
            config,
            decode=tokenizer.decode,
            vocabulary_size=tokenizer.vocabulary_size,
            seed=0,
            threads=1,
            lessons=lessons,
        )
        self.waits = 0
        self.retraining = Retraining(config, self.embedder, progress=self._wait)
        self.kept = Kept()
        self.ticks = 0
        self.versions: list[int] = []  # ticks that a new version was the first to embed

    def _wait(self, done: int, total: int) -> None:
        self.waits += 1

    def begin(self, *ticks: list[Tokens]) -> None:
        documents = [tokens for tick in ticks for tokens in tick]
        self.retraining.begin(range(len(documents)), documents)
        self.commit()

    def take(self, tick: list[Tokens]) -> None:
        if self.retraining.renew() is not None:
            self.versions.append(self.ticks)
        first = 1000 * (1 + self.ticks)
        self.retraining.observe(range(first, first + len(tick)), tick)
        self.ticks += 1
        self.commit()

    def commit(self) -> None:
        epoch = Epoch(number=1, identity="{}")
        self.embedder.write(epoch)
        self.kept.commit(self.retraining, epoch=epoch)

    def restarted(self, tokenizer: Tokenizer) -> Lane:
        other = Lane(tokenizer)
        other.kept, other.ticks, other.versions = self.kept, self.ticks, self.versions
        other.embedder.restore(self.kept)
        self.kept.restore(other.retraining)
        return other


def test_a_stream_that_stays_the_same_is_never_trained_for_again(tokenizer: Tokenizer, tick_of: TickOf) -> None:
    lane = Lane(tokenizer)
    lane.begin(tick_of(ENGLISH, 0), tick_of(ENGLISH, 1))
    stored = dict(lane.kept.families["embedding"])
    for seed in range(2, 30):
        lane.take(tick_of(ENGLISH, seed))

    assert lane.versions == []
    assert lane.retraining.known_share > 0.99
    assert lane.kept.families["embedding"] == stored


def test_a_stream_that_becomes_another_gets_a_student_that_knows_both(tokenizer: Tokenizer, tick_of: TickOf) -> None:
    lane = Lane(tokenizer)
    lane.begin(tick_of(ENGLISH, 0), tick_of(ENGLISH, 1))
    first_share = lane.embedder.known_share(tick_of(GERMAN, 99))
    for seed in range(30):
        lane.take(tick_of(GERMAN, seed))

    # The first tick is strange enough, and completes the sample.
    assert lane.versions == [TRAINING_TICKS]
    assert lane.embedder.version == 2
    assert first_share < 0.5
    for words in (GERMAN, ENGLISH):
        assert lane.embedder.known_share(tick_of(words, 99)) > 0.95


def test_something_else_now_and_then_does_not_count(tokenizer: Tokenizer, tick_of: TickOf) -> None:
    lane = Lane(tokenizer)
    lane.begin(tick_of(ENGLISH, 0), tick_of(ENGLISH, 1))
    for seed in range(30):
        lane.take((tick_of(GERMAN, seed)[:8] if seed % 10 == 5 else []) + tick_of(ENGLISH, seed)[:40])

    assert lane.versions == []


def test_a_warm_up_that_was_cut_short_is_made_up_for(tokenizer: Tokenizer, tick_of: TickOf) -> None:
    lane = Lane(tokenizer)
    lane.begin(tick_of(ENGLISH, 0)[:10])
    for seed in range(30):
        lane.take(tick_of(ENGLISH, seed))

    assert lane.versions == [1 + TRAINING_TICKS]


def test_the_ticks_of_a_warm_up_add_nothing_to_its_sample(tokenizer: Tokenizer, tick_of: TickOf) -> None:
    lane = Lane(tokenizer)
    first = tick_of(ENGLISH, 0)
    lane.begin(first)
    lane.retraining.observe(range(len(first)), first)
    lane.commit()
    lane = lane.restarted(tokenizer)
    lane.retraining.observe(range(len(first)), first)
    lane.commit()
    lane.retraining.remove(7)

    sample = lane.retraining._sample
    assert sorted(_numbers(sample)) == [number for number in range(len(first)) if number != 7]
    assert len(sample) == len(first) - 1


def test_a_stop_at_any_tick_changes_nothing(tokenizer: Tokenizer, tick_of: TickOf) -> None:
    def run(stop_after: int | None) -> Lane:
        lane = Lane(tokenizer)
        lane.begin(tick_of(ENGLISH, 0), tick_of(ENGLISH, 1))
        for seed in range(14):
            lane.take(tick_of(GERMAN, seed))
            if seed == stop_after:
                lane = lane.restarted(tokenizer)
        return lane

    undisturbed = run(None)
    assert len(undisturbed.versions) == 1
    assert undisturbed.waits >= 1, "the ticks came faster than the training"
    for stop_after in (0, 1, 3, 8, 12):
        stopped = run(stop_after)
        assert stopped.versions == undisturbed.versions
        assert stopped.kept.families == undisturbed.kept.families


def test_a_retracted_document_is_not_trained_on(tokenizer: Tokenizer, tick_of: TickOf) -> None:
    lane = Lane(tokenizer)
    lane.begin(tick_of(ENGLISH, 0), tick_of(ENGLISH, 1))
    odd, *rest = tick_of(GERMAN, 0)
    only_in_it = np.array([100_000], odd.dtype)
    for tick in range(6):
        # In the first half of every tick and at an even place, so that it is trained on.
        lane.take([np.concatenate((odd, only_in_it)), *rest] if tick < 3 else rest)
    for tick in range(3):
        lane.retraining.remove(1000 * (1 + tick))
    for _ in range(10):
        lane.take(rest)

    assert len(lane.versions) == 1
    assert lane.embedder.known_share([only_in_it]) == 0.0


def test_a_sample_that_was_retracted_as_a_whole_is_collected_again(tokenizer: Tokenizer, tick_of: TickOf) -> None:
    lane = Lane(tokenizer)
    lane.begin(tick_of(ENGLISH, 0), tick_of(ENGLISH, 1))
    lane.take(tick_of(GERMAN, 0))
    for doc_no in (*range(2 * TICK), *range(1000, 1000 + TICK)):
        lane.retraining.remove(doc_no)
    for seed in range(2 + TRAINING_TICKS):
        lane.take(tick_of(GERMAN, seed))

    assert lane.versions == [1 + 1 + TRAINING_TICKS]


def test_a_change_asks_the_teacher_about_new_documents_only(
    tokenizer: Tokenizer, tick_of: TickOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    ask = Teacher.encode_groups

    def count(teacher: Teacher, texts: list[str]) -> Iterator[NDArray[np.float32]]:
        asked.append(len(texts))
        return ask(teacher, texts)

    monkeypatch.setattr(Teacher, "encode_groups", count)
    lane = Lane(tokenizer, lessons=tmp_path / "lessons")
    lane.begin(tick_of(ENGLISH, 0), tick_of(ENGLISH, 1))
    for seed in range(12):
        lane.take(tick_of(GERMAN, seed))
    with_file = lane.embedder.known_share(tick_of(GERMAN, 99)), lane.kept.families

    assert asked == [TICK, TICK // 2]
    lane = Lane(tokenizer)
    lane.begin(tick_of(ENGLISH, 0), tick_of(ENGLISH, 1))
    for seed in range(12):
        lane.take(tick_of(GERMAN, seed))
    assert asked[2:] == [TICK, TICK]
    assert with_file == (lane.embedder.known_share(tick_of(GERMAN, 99)), lane.kept.families)


def test_lessons_go_where_no_training_is_to_come(tokenizer: Tokenizer, tick_of: TickOf, tmp_path: Path) -> None:
    config = msgspec.structs.replace(CONFIG, retrain_drop=1.0)
    Lane(tokenizer, config, lessons=tmp_path / "lessons").begin(tick_of(ENGLISH, 0))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_trained_says_how_to_go_on_without(
    tokenizer: Tokenizer, tick_of: TickOf, tmp_path: Path
) -> None:
    lane = Lane(tokenizer)
    lane.begin(tick_of(ENGLISH, 0), tick_of(ENGLISH, 1))
    gone = Lane(tokenizer, msgspec.structs.replace(CONFIG, model=str(tmp_path / "gone")))
    gone.embedder.restore(lane.kept)
    lane.kept.restore(gone.retraining)

    for seed in range(TRAINING_TICKS):
        gone.take(tick_of(GERMAN, seed))

    with pytest.raises(ConfigError, match=r"cannot load .*embedding.retrain_drop = 1.0"):
        gone.take(tick_of(GERMAN, TRAINING_TICKS))


def test_a_training_that_is_not_wanted_ends_at_once() -> None:
    begun, over = threading.Event(), threading.Event()

    def train(progress: Callable[[int, int], None]) -> None:
        begun.set()
        try:
            while True:
                progress(0, 1)
        finally:
            over.set()

    training = Training(train)  # type: ignore[arg-type]
    begun.wait(10)
    training.stop()

    assert over.is_set()


def test_what_a_training_raises_is_told_to_who_waits_for_it() -> None:
    def train(progress: Callable[[int, int], None]) -> None:
        raise ZeroDivisionError("one over nothing")

    with pytest.raises(ZeroDivisionError, match="one over nothing"):
        Training(train).result(None)  # type: ignore[arg-type]


def test_a_sample_is_its_facts() -> None:
    rng = np.random.default_rng(0)
    sample, kept = Sample(max_tokens=8), Kept()
    for round_ in range(6):
        first, count = 5000 * round_, int(rng.integers(1, 2 * TICK_ORDINALS))
        documents = [rng.integers(0, 60_000, rng.integers(1, 20)).astype(np.uint32) for _ in range(count)]
        sample.add(range(first, first + count), documents)
        if round_ % 2:
            sample.thin()
        is_here = first + count - 1 in _numbers(sample)
        assert (sample.remove(first + count - 1) is not None) == is_here
        kept.commit(sample)
        other = Sample(max_tokens=8)
        kept.restore(other)

        assert [one.tolist() for one in other.learned()] == [one.tolist() for one in sample.learned()]
        assert [one.tolist() for one in other.unseen()] == [one.tolist() for one in sample.unseen()]
        assert len(other) == len(sample)
        assert max(map(len, sample.learned()), default=0) <= 8


def _numbers(sample: Sample) -> set[int]:
    return {doc_no for block in sample._blocks.values() for doc_no in block}


def test_held_out_documents_are_those_that_are_not_trained_on(tokenizer: Tokenizer, tick_of: TickOf) -> None:
    documents = tick_of(ENGLISH, 0)[:3]
    assert [one.tolist() for one in held_out(documents)] == [documents[1].tolist()]
    assert held_out(documents[:1]) is not None
    assert len(held_out(documents[:1])) == 1
