"""Heads: read from their files, scored, and held against their band."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import numpy as np
import pytest

from curation.quality.fit import Labelled, fit_head
from curation.quality.heads import open_heads
from curation.quality.judge import Quality, QualityConfig
from curation.quality.language import LanguageConfig
from curation.quality.models import HeadConfig
from curatord.errors import ConfigError
from kernels.columns import join_texts

GOOD = ["science", "nature", "energy", "theory", "measured", "light", "the", "of"]
BAD = ["buy", "cheap", "click", "now", "offer", "deal", "the", "of"]


def text_of(words: list[str], seed: int, length: int = 40) -> str:
    return " ".join(random.Random(seed).choices(words, k=length))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    documents = [
        Labelled(text=text_of(words, seed, 20 + seed), is_good=words is GOOD, source="a" if seed % 2 else "b")
        for words in (GOOD, BAD)
        for seed in range(60)
    ]
    path = tmp_path_factory.mktemp("heads") / "web.head"
    path.write_bytes(msgspec.msgpack.encode(fit_head(documents, "web")))
    return path


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fasttext = pytest.importorskip("fasttext")
    folder = tmp_path_factory.mktemp("fasttext")
    lines = [
        f"__label__{'hq' if words is GOOD else 'cc'} {text_of(words, i)}" for words in (GOOD, BAD) for i in range(99)
    ]
    (folder / "train.txt").write_text("\n".join(lines))
    model = fasttext.train_supervised(str(folder / "train.txt"), dim=8, epoch=20, thread=1, verbose=0)
    model.save_model(str(folder / "model.bin"))
    return folder / "model.bin"


@pytest.mark.parametrize("which", ["own", "fast"])
def test_good_scores_above_bad_and_no_words_have_none(which: str, request: pytest.FixtureRequest) -> None:
    config = HeadConfig(file=str(request.getfixturevalue(which)), label="__label__hq" if which == "fast" else "")
    (head,) = open_heads({"web": config})
    texts = [*(text_of(GOOD, 100 + i) for i in range(20)), *(text_of(BAD, 100 + i) for i in range(20)), " \n"]
    scores = head.score(join_texts(texts))[:, 0]
    assert head.names == ("web",)
    assert scores[:20].min() > 0.8 > 0.2 > scores[20:40].max()
    assert 0 <= np.nanmin(scores) <= np.nanmax(scores) <= 1
    assert np.isnan(scores[40])
    alone = [head.score(join_texts([text]))[0, 0] for text in texts]
    assert np.array_equal(scores, np.array(alone), equal_nan=True)


def test_the_scores_of_fasttext_are_its_own(fast: Path) -> None:
    import fasttext

    (head,) = open_heads({"web": HeadConfig(file=str(fast), label="__label__cc")})
    model = fasttext.load_model(str(fast))
    text = text_of(GOOD + BAD, 5).replace(" ", "\n", 3)
    labels, shares = model.predict(text.replace("\n", " "), k=-1)
    assert head.score(join_texts([text]))[0, 0] == pytest.approx(shares[labels.index("__label__cc")])


def test_a_band_rejects_what_is_kept_otherwise_and_says_what_was_measured(own: Path) -> None:
    texts = [text_of(GOOD, 7), text_of(BAD, 7), "…"]
    for band, rejected, reason in (({"min": 0.5}, 1, "score_too_low"), ({"max": 0.5}, 0, "score_too_high")):
        config = QualityConfig(heads={"web": HeadConfig(file=str(own), **band)})
        quality = Quality(config, LanguageConfig(), open_heads(config.heads))
        measures = quality.measure(join_texts(texts), ("en",) * 3)
        judged = quality.judge(measures)
        assert np.flatnonzero(judged.rejected_B).tolist() == [rejected]
        assert judged.reasons_B[rejected] == reason
        assert judged.values_B[rejected] == measures.model_scores_BM[rejected, 0]
        assert judged.thresholds_B[rejected] == 0.5


def test_files_that_are_no_heads_are_refused_with_a_way_out(own: Path, fast: Path, tmp_path: Path) -> None:
    (tmp_path / "other.bin").write_bytes(b"something")
    (tmp_path / "other.head").write_bytes(b"something")
    for config, words in (
        (HeadConfig(file=str(tmp_path / "missing")), "cannot read"),
        (HeadConfig(file=str(tmp_path / "other.head")), "curatord quality fit"),
        (HeadConfig(file=str(tmp_path / "other.bin")), "no model of fastText"),
        (HeadConfig(file=str(fast), label="__label__x"), "__label__hq"),
    ):
        with pytest.raises(ConfigError, match=words):
            open_heads({"web": config})


def test_a_head_whose_numbers_say_nothing_is_refused(own: Path, tmp_path: Path) -> None:
    # A score of NaN is below no threshold: such a head would keep all without a word.
    head = msgspec.msgpack.decode(own.read_bytes())
    weights = np.frombuffer(head["weights"], np.float32)
    broken = np.where(np.arange(len(weights)) == 7, np.float32(np.nan), weights)
    for number, change in enumerate(
        (
            {"weights": broken.tobytes()},
            {"weights": weights[:-1].tobytes()},
            {"bias": float("nan")},
            {"bias": float("inf")},
        )
    ):
        path = tmp_path / f"{number}.head"
        path.write_bytes(msgspec.msgpack.encode(head | change))
        with pytest.raises(ConfigError, match="is damaged"):
            open_heads({"web": HeadConfig(file=str(path))})


def test_a_head_has_a_name_of_its_own() -> None:
    for name in ("target", "rules", "gopher_too_few_words", "No", "ä"):
        with pytest.raises(ValueError, match="no name for a head"):
            QualityConfig(heads={name: HeadConfig(file="a")})
