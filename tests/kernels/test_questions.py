"""Questions in documents: against the published search in plain Python."""

from __future__ import annotations

import random
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.columns import join_texts
from kernels.questions import BY_IDF, BY_WORDS, find_questions, index_questions, new_stamps
from tests.kernels.questions_reference import Reference


def find(
    texts: list[str], questions: list[str], *, n: int, step: int, by: int, limit: float = 1e-6, hot: int = 2000
) -> list[tuple[int, float]]:
    index = index_questions(questions, n)
    limits_Q = np.full(len(questions), limit)
    numbers_B, shares_B = find_questions(
        join_texts(texts), index, limits_Q, new_stamps(index), gram_words=n, step=step, hot=hot, by=by
    )
    return list(zip(numbers_B.tolist(), shares_B.tolist(), strict=True))


@given(seed=st.integers(0, 1_000_000), by=st.sampled_from([BY_IDF, BY_WORDS]), step=st.sampled_from([1, 3, 10]))
@settings(max_examples=150, deadline=None)
def test_shares_are_those_of_the_published_search(seed: int, by: int, step: int) -> None:
    rng = random.Random(seed)
    vocabulary = [f"w{n}" for n in range(rng.choice([6, 40, 400]))]
    draw = lambda most: [rng.choice(vocabulary) for _ in range(rng.randrange(3, most))]  # noqa: E731
    questions = [draw(30) for _ in range(rng.randrange(1, 8))]
    questions += [question[:-3] + draw(6) for question in questions[:2]]  # with common beginnings
    text: list[str] = []
    for _ in range(4):
        edited = list(rng.choice(questions))
        for _ in range(rng.randrange(4)):
            edited[rng.randrange(len(edited))] = rng.choice(vocabulary)
        text += [*draw(25), *edited]
    names = [" ".join(question) for question in questions]
    hot = rng.choice([2, 2000])

    (number, share), *_ = find([" ".join(text), "w1"], names, n=4, step=step, by=by, hot=hot)

    skip = 1 if by == BY_IDF else step
    reference = Reference(names, 4)
    clusters = reference.shares(" ".join(text), step=step, hot=hot, hot_step=skip)
    best = max((shares[by] for cluster in clusters for shares in cluster.values()), default=0.0)
    assert share == pytest.approx(best, abs=1e-6)
    assert (number >= 0) == (best > 0)
    if number >= 0:
        assert any(number in cluster and cluster[number][by] == pytest.approx(share) for cluster in clusters)


def test_only_questions_whose_limit_is_reached_are_told() -> None:
    questions = ["a b c d e f g h", "a b c d x y z u"]
    index = index_questions(questions, 4)
    texts = join_texts(["q a b c d e f g h q", "q a b c d e q", "nothing at all"])
    options = {"gram_words": 4, "step": 1, "hot": 9, "by": BY_WORDS}

    numbers_B, shares_B = find_questions(texts, index, np.array([1.0, 0.5]), new_stamps(index), **options)

    assert numbers_B.tolist() == [0, 1, -1]
    assert shares_B.tolist() == [1.0, 0.5, 0.0]


def test_case_composition_and_batches_make_no_difference() -> None:
    question = "Wie groß ist die Fläche, die das Größte der Ämter einnimmt, wenn é ein Maß ist"
    texts = [f"Vorweg. {question.lower()} Danach.", unicodedata.normalize("NFD", question), question[:20], ""]
    whole = find(texts, [question], n=5, step=1, by=BY_WORDS)

    assert [number for number, _ in whole] == [0, 0, -1, -1]
    assert [share for _, share in whole[:2]] == [1.0, 1.0]
    assert [find([text], [question], n=5, step=1, by=BY_WORDS)[0] for text in texts] == whole
    chinese = "".join(chr(0x4E00 + 31 * n % 700) for n in range(40))
    assert find(["前言" + chinese + "后记"], [chinese], n=5, step=4, by=BY_WORDS)[0][0] == 0


def test_an_index_of_nothing_finds_nothing() -> None:
    assert find(["some words of a text"], [], n=4, step=1, by=BY_WORDS) == [(-1, 0.0)]
    assert find(["some words of a text"], ["too short"], n=4, step=1, by=BY_WORDS) == [(-1, 0.0)]
