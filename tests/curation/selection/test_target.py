"""The target: DSIR's weights as its paper has them, and texts above words in no order."""

from __future__ import annotations

import random
import re
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from curation.selection.target import BUCKETS, TargetConfig, fit_target, log_weights
from curation.selection.target_facts import worths
from kernels.columns import join_texts
from tests.corpus import read_zst_jsonl


def documents(words: list[str], number: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(words, k=60)) for _ in range(number)]


LAW = [f"law{i}" for i in range(80)]
WEB = [f"web{i}" for i in range(80)]


def test_what_is_wanted_and_what_there_is_alike_weigh_nothing() -> None:
    texts = documents(LAW + WEB, 300, 0)
    assert not log_weights(texts, texts).any()
    target = fit_target(texts, texts)
    assert np.abs(target.score(join_texts(texts))[:, 0]).max() == 0


def test_the_log_weight_is_that_of_the_paper_on_other_hashes() -> None:
    """Shares of words and pairs in 10,000 buckets of another hash, in plain numpy."""
    wanted, against = documents(LAW, 100, 1), documents(LAW + WEB, 400, 2)

    def counts(texts: list[str]) -> np.ndarray:
        total = np.zeros(BUCKETS)
        for text in texts:
            words = re.findall(r"\w+", text.lower())
            pairs = [f"{a} {b}" for a, b in pairwise(words)]
            for feature in (*words, *pairs):
                total[zlib.crc32(feature.encode()) % BUCKETS] += 1
        return total

    p, q = (counts(texts) + 1 for texts in (wanted, against))
    log_ratio = np.log(p / p.sum()) - np.log(q / q.sum())
    texts = [" ".join(random.Random(i).choices(LAW[: i + 1] + WEB[i:], k=50)) for i in range(79)]
    expected = [float((counts([text]) * log_ratio).sum() / counts([text]).sum()) for text in texts]
    found = fit_target(wanted, against).score(join_texts(texts))[:, 0]
    assert np.corrcoef(found, expected)[0, 1] > 0.99
    assert found == pytest.approx(expected, abs=0.3)


def test_real_posts_are_above_their_own_words_shuffled(corpora: Path) -> None:
    posts, laws = (
        [document["text"] for document, _ in zip(read_zst_jsonl(corpora / name), range(number), strict=False)]
        for name, number in (("labelled/20newsgroups.jsonl.zst", 900), ("web/gesetze-de.jsonl.zst", 200))
    )
    target = fit_target(posts[:200], [*posts[200:600], *laws])
    real = [text for text in posts[600:] if len(text.split()) > 100]
    words = " ".join(real).split()
    random.Random(0).shuffle(words)
    shuffled = [" ".join(words[at : at + 200]) for at in range(0, len(words) - 200, 200)]
    of_real, of_shuffled, of_laws = (worths(target.score(join_texts(texts))) for texts in (real, shuffled, laws))
    assert of_real.mean() > of_shuffled.mean() + 3 * of_shuffled.std()
    assert np.mean(of_real[:, None] > of_shuffled[None, :]) > 0.97
    assert of_laws.mean() < of_real.mean()


def test_too_few_documents_are_refused_with_the_numbers() -> None:
    with pytest.raises(ValueError, match="3 documents are wanted and 500 are the stream's"):
        fit_target(documents(LAW, 3, 0), documents(WEB, 500, 0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"files": ("a",)}, "go together"),
        ({"against": ("a",)}, "go together"),
        ({"keep_ratio": 0.7}, "say which"),
        ({"files": ("a",), "against": ("b",), "keep_ratio": 0.3}, "lower the floor or raise the ratio"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TargetConfig(**options)  # type: ignore[arg-type]
