"""Evaluation sets: rules by name against plain Python, planted questions found, clean documents left alone."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path

import numpy as np
import pytest

from curation.decontamination.questions import Mode, Question, Questions
from kernels.columns import join_texts
from tests.corpus import read_zst_jsonl
from tests.kernels.questions_reference import Reference, grams_of

MODES: tuple[Mode, ...] = ("sampled", "decon", "gpt3", "llama")


def asked(texts: list[str]) -> list[Question]:
    return [Question(set="set", id=str(number), text=text) for number, text in enumerate(texts)]


def plain(text: str) -> str:
    return " ".join(re.findall("[a-z0-9]+", text.lower()))


def edited(text: str, times: int, rng: random.Random) -> str:
    """Words that were replaced, left out or put in."""
    words = text.split()
    for _ in range(times):
        at = rng.randrange(len(words))
        words[at : at + rng.randrange(2)] = [f"other{rng.randrange(99)}"] * rng.randrange(2)
    return " ".join(words)


@pytest.fixture(scope="module")
def pages(corpora: Path) -> list[str]:
    """10,000 documents of the web corpora, in which no post is quoted."""
    texts: list[str] = []
    for path in sorted((corpora / "web").glob("*.zst")):
        documents = itertools.islice(read_zst_jsonl(path), 3000)
        texts += [document["text"] for document in documents if len(document["text"]) < 40_000]
    random.Random(1).shuffle(texts)
    assert len(texts) >= 10_000
    return texts[:10_000]


@pytest.fixture(scope="module")
def sentences(corpora: Path) -> list[str]:
    """1,500 sentences of 13 to 60 words of newsgroup posts, in place of questions."""
    found: set[str] = set()
    for document in read_zst_jsonl(corpora / "labelled" / "20newsgroups.jsonl.zst"):
        for sentence in re.split(r"(?<=[.?!])\s+|\n\n", document["text"]):
            words = plain(sentence).split()
            is_prose = len(set(words)) > 10 and not set(">:|0123456789") & set(sentence)
            if 13 <= len(words) <= 60 and is_prose:
                found.add(sentence)
    return random.Random(2).sample(sorted(found), 1500)


def planted(sentences: list[str], pages: list[str], times: int) -> list[str]:
    """Pages with a sentence in the middle, edited so often."""
    rng = random.Random(times)
    texts = []
    for sentence, page in zip(sentences, pages, strict=False):
        words = page.split(" ")
        at = rng.randrange(len(words) + 1)
        texts.append(" ".join([*words[:at], edited(sentence, times, rng), *words[at:]]))
    return texts


def test_planted_questions_with_one_to_three_edits_are_found(sentences: list[str], pages: list[str]) -> None:
    questions = Questions(asked(sentences), "sampled")
    shares = []
    for times in (0, 1, 2, 3):
        found = questions.find(join_texts(planted(sentences, pages, times)))
        shares.append(float((found.questions_B >= 0).mean()))
    assert shares[0] >= 0.995
    assert float(np.mean(shares[1:])) >= 0.95


@pytest.mark.parametrize("mode", MODES)
def test_none_of_ten_thousand_clean_documents_holds_a_question(
    sentences: list[str], pages: list[str], mode: Mode
) -> None:
    questions = Questions(asked(sentences), mode)
    for first in range(0, len(pages), 500):
        assert (questions.find(join_texts(pages[first : first + 500])).questions_B < 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_verdicts_are_those_of_the_published_rule(sentences: list[str], pages: list[str], mode: Mode) -> None:
    names = [plain(sentence) for sentence in sentences[:400]]
    clean = [plain(page[:6000]) for page in pages[400:1000]]
    texts = clean + [text for times in range(4) for text in planted(names, [page[:3000] for page in clean], times)]
    texts = [plain(text) for text in texts]
    questions = Questions(asked(names), mode)

    found_B = questions.find(join_texts(texts)).questions_B >= 0

    reference = Reference(names, {"sampled": 4, "decon": 5, "gpt3": 13, "llama": 8}[mode])
    expected_B = np.array([holds(mode, text, reference) for text in texts])
    assert float((found_B == expected_B).mean()) >= 0.99
    assert 0.1 < float(expected_B.mean()) < 0.9


def holds(mode: Mode, text: str, reference: Reference) -> bool:
    """The rule in plain Python."""
    if mode == "gpt3":
        return any(gram in reference.owners for gram in grams_of(text.split(), 13))
    if mode == "llama":
        having = set(grams_of(text.split(), 8))
        held = {number for gram in having for number in reference.owners.get(gram, ())}
        for number in held:
            grams = grams_of(reference.questions[number], 8)
            covered = {at + k for at, gram in enumerate(grams) if gram in having for k in range(8)}
            if len(covered) / len(reference.questions[number]) >= 0.7:
                return True
        return False
    hot, step, hot_step = (8, 4, 4) if mode == "sampled" else (2000, 10, 1)
    for cluster in reference.shares(text, step=step, hot=hot, hot_step=hot_step):
        for number, (by_idf, by_words) in cluster.items():
            length = len(reference.questions[number])
            if mode == "sampled" and by_words >= 0.65 - 0.2 * min(max((length - 13) / 7, 0), 1) - 1e-9:
                return True
            if mode == "decon" and by_idf >= 1 - 0.2 * min(max((length - 17) / 26, 0), 1) - 1e-9:
                return True
    return False


def test_short_questions_and_repeated_ones_are_left_out() -> None:
    long = " ".join(f"word{n}" for n in range(20))
    questions = Questions(asked([long, "one two three", long, "ha " * 40, long + " more"]), "sampled")
    assert [question.id for question in questions.questions] == ["0", "4"]
    assert questions.left_out == 2


def test_every_question_of_a_document_is_told_of_and_no_other() -> None:
    draw = random.Random(3)
    names = [" ".join(f"w{draw.randrange(9999)}" for _ in range(20)) for _ in range(6)]
    questions = Questions(asked(names), "sampled")

    hits = questions.find_all(join_texts([f"a {names[1]} b {names[4]} c", "nothing", names[2]]))

    assert sorted((row, number) for row, number, _ in hits) == [(0, 1), (0, 4), (2, 2)]
    assert {round(share, 6) for _, _, share in hits} == {1.0}


def test_sets_rules_and_shares_are_part_of_the_identity() -> None:
    long = [" ".join(f"word{n}x{k}" for n in range(20)) for k in range(3)]
    digests = {
        Questions(asked(texts), mode, share).digest
        for texts, mode, share in [
            (long, "sampled", None), (long[:2], "sampled", None), (long, "decon", None), (long, "sampled", 0.9),
        ]
    }  # fmt: skip
    assert len(digests) == 4
    assert Questions(asked(long), "sampled").digest in digests
