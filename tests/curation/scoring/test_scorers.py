from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curation.scoring.checkpoint import Checkpoint, newest
from curation.scoring.scorers import Scorers
from curatord.errors import ConfigError
from tests.curation.scoring.models import byte_tokens, save_model

REFERENCE = ["the cat sat on the mat", "a cat and a mat"]
LIKE, UNLIKE = "the mat and the cat sat", "9137 0021 5538 4410"


def lengths(texts: list[str]) -> list[float]:
    return [float(len(text)) for text in texts]


def broken(texts: list[str]) -> list[float]:
    raise RuntimeError("no model here")


def short(texts: list[str]) -> list[float]:
    return [1.0]


def _scorers(*names: str, reference=REFERENCE, failed=lambda *_: None) -> Scorers:
    return Scorers(names, reference, damping=0.1, failed=failed)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Checkpoint:
    folder: Path = tmp_path_factory.mktemp("model")
    save_model(folder, texts=("once upon a time", "12 34 56"))
    return Checkpoint(newest(folder), byte_tokens, device="cpu")


def test_influence_is_high_for_a_text_like_the_reference_and_one_for_the_reference(checkpoint) -> None:
    scorers = _scorers("influence")
    scorers.refresh(checkpoint)
    like, unlike, *of_reference = scorers.score([LIKE, UNLIKE, *REFERENCE])["influence"].tolist()
    assert like > unlike
    weights = [len(text) + 1 for text in REFERENCE]
    assert np.average(of_reference, weights=weights) == pytest.approx(1.0, rel=1e-3)


def test_perplexity_is_high_for_a_text_that_the_model_knows(checkpoint) -> None:
    scorers = _scorers("perplexity", reference=[])
    scorers.refresh(checkpoint)
    known, unknown = scorers.score(["once upon a time", "ZZXQ##~"])["perplexity"]
    assert unknown < known < 0


def test_a_function_of_ones_own_needs_no_model() -> None:
    name = "tests.curation.scoring.test_scorers:lengths"
    assert _scorers(name).score(["a", "abc"])[name].tolist() == [1.0, 3.0]


def test_several_scorers_reward_the_same_texts(checkpoint) -> None:
    names = ("influence", "perplexity", "tests.curation.scoring.test_scorers:lengths")
    scorers = _scorers(*names)
    scorers.refresh(checkpoint)
    assert set(scorers.score([LIKE])) == set(names)


@pytest.mark.parametrize("function", ["broken", "short"])
def test_a_function_that_fails_gives_no_reward_and_is_told_of(function: str) -> None:
    told = []
    name = f"tests.curation.scoring.test_scorers:{function}"
    scores = _scorers(name, failed=lambda *why: told.append(why)).score(["a", "b"])
    assert np.isnan(scores[name]).all()
    assert told[0][0] == name


def test_a_text_without_a_next_token_gets_no_reward(checkpoint, monkeypatch) -> None:
    monkeypatch.setattr(checkpoint, "_encode", lambda text: list(text.encode()))
    scorers = _scorers("influence")
    scorers.refresh(checkpoint)
    assert np.isnan(scorers.score(["", "x", LIKE])["influence"]).tolist() == [True, True, False]


@pytest.mark.parametrize("name", ["influnce", "no.such.module:f", "tests.curation.scoring.test_scorers:REFERENCE"])
def test_a_name_that_is_no_scorer_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="--scorer"):
        _scorers(name)


def test_influence_without_a_reference_is_refused() -> None:
    with pytest.raises(ConfigError, match="--reference"):
        _scorers("influence", reference=[])


def test_factors_are_made_anew_as_documents_come_and_with_every_checkpoint(checkpoint) -> None:
    scorers = _scorers("influence")
    scorers.refresh(checkpoint)
    scorers.score([LIKE])
    first = scorers._influence
    scorers.score([UNLIKE])
    second = scorers._influence
    scorers.score([LIKE])
    assert first is not second
    assert scorers._influence is second  # three documents: not twice as many as two
    scorers.refresh(checkpoint)
    scorers.score([LIKE])
    assert scorers._influence is not second
