"""Evaluation sets: their questions, and which documents hold one.

Published rules, by name, over words as near-duplicates have them, and one of ours:

    sampled  4-grams, sampled and followed (`kernels.questions`); the share of a question's words that stand in them:
             0.45, of questions of 20 words and more; 0.65 of one of 13
    decon    5-grams, sampled and followed, and the share of a question's 5-grams by idf: 0.8, of questions of 43 words
             and more, and all of them up to 17 (AI2's decon for Olmo 3, without answers and passages; its 20 and 50 are
             tokens)
    gpt3     any 13-gram (Brown et al., "Language Models are Few-Shot Learners", 2020, appendix C)
    llama    the share of a question's words in common 8-grams, 0.7 (PaLM, 2022; Llama 3, 2024)

Questions of fewer than 13 words, or of fewer than 4 different ones, are left out: they are found by chance. Of equal
texts the first stands for all.

Pure: what is found hangs on the sets and on a document alone.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from curation.decontamination.found import MAX_TEXT, FoundQuestion
from kernels.columns import Texts
from kernels.questions import BY_IDF, BY_WORDS, QuestionIndex, find_questions, index_questions, new_stamps

MIN_WORDS: Final = 13
MIN_DIFFERENT_WORDS: Final = 4

Mode = Literal["sampled", "decon", "gpt3", "llama"]


class _Rule(NamedTuple):
    gram_words: int
    step: int  # every so many n-grams of a document are looked up
    by: int
    share: float  # of a question that has `lengths[1]` words or more
    share_of_short: float  # of one that has `lengths[0]` or fewer
    lengths: tuple[int, int] = (13, 20)
    hot: int = 8  # n-grams of more questions begin nothing


_RULES: dict[Mode, _Rule] = {
    "sampled": _Rule(gram_words=4, step=4, by=BY_WORDS, share=0.45, share_of_short=0.65),
    "decon": _Rule(gram_words=5, step=10, by=BY_IDF, share=0.8, share_of_short=1.0, lengths=(17, 43), hot=2000),
    "gpt3": _Rule(gram_words=13, step=1, by=BY_WORDS, share=0.0, share_of_short=0.0, hot=2000),
    "llama": _Rule(gram_words=8, step=1, by=BY_WORDS, share=0.7, share_of_short=0.7, hot=2000),
}


class DecontaminateConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section [decontaminate]: documents that hold questions of evaluation sets."""

    files: tuple[str, ...] = ()
    """Files and folders of evaluation sets, in any form that `curate` reads; each file is a set."""
    field: Annotated[str, msgspec.Meta(min_length=1)] = "question"
    """Field, or column, that holds a question. Files of text are a question each."""
    mode: Mode = "sampled"
    """Rule by which a document holds a question: "sampled" (4-grams, with up to a few edits), "decon" (as AI2's tool),
    "gpt3" (any 13 words), "llama" (share of words in common 8-grams)."""
    share: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] | None = None
    """Share of a question from which a document holds it, more of short ones; unset for that of the mode."""
    drop: bool = True
    """Whether documents that hold a question are dropped; else it is only told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One of an evaluation set."""

    set: str
    id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contamination:
    """Questions that B documents hold."""

    questions_B: NDArray[np.int32]  # -1 for none
    shares_B: NDArray[np.float32]

    def take(self, rows_B: NDArray[np.int64]) -> Contamination:
        """Those of some documents."""
        return Contamination(questions_B=self.questions_B[rows_B], shares_B=self.shares_B[rows_B])


class Questions:
    """The questions of evaluation sets, indexed. `left_out` counts those that are too short to be told from chance."""

    def __init__(self, questions: Sequence[Question], mode: Mode, share: float | None = None) -> None:
        self._rule = (
            _RULES[mode]
            if share is None
            else _RULES[mode]._replace(share=share, share_of_short=max(share, _RULES[mode].share_of_short))
        )
        first = {question.text: question for question in reversed(questions)}
        told = [question for question in questions if first[question.text] is question]
        kept = [question for question, is_kept in zip(told, _are_long_enough(told), strict=True) if is_kept]
        self.questions, self.left_out = tuple(kept), len(told) - len(kept)
        self._index: QuestionIndex = index_questions([question.text for question in kept], self._rule.gram_words)
        self.limits_Q = self._limits(self._index.words_Q)
        self._of_thread = threading.local()
        named = [(question.set, question.id, question.text) for question in kept]
        self.digest = xxhash.xxh3_64_hexdigest(msgspec.msgpack.encode((mode, self._rule, named)))

    def _limits(self, words_Q: NDArray[np.int32]) -> NDArray[np.float64]:
        """The share of each question that a document must have."""
        rule, (short, long) = self._rule, self._rule.lengths
        way_Q = np.clip((words_Q - short) / (long - short), 0.0, 1.0)
        limits_Q: NDArray[np.float64] = rule.share_of_short + (rule.share - rule.share_of_short) * way_Q
        return limits_Q

    def told(self, question: int) -> FoundQuestion:
        """A question as a state keeps it."""
        of = self.questions[question]
        return FoundQuestion(of.set, of.id, of.text[:MAX_TEXT])

    def find(self, texts: Texts) -> Contamination:
        """The question that each document holds most of. Pure."""
        return self._find(texts, self.limits_Q)

    def find_all(self, texts: Texts) -> list[tuple[int, int, float]]:
        """Every question that a document holds: (document, question, share)."""
        hits: list[tuple[int, int, float]] = []
        for row in np.flatnonzero(self.find(texts).questions_B >= 0).tolist():
            one, limits_Q = texts.take([row]), self.limits_Q.copy()
            while (found := self._find(one, limits_Q)).questions_B[0] >= 0:
                question = int(found.questions_B[0])
                hits.append((row, question, float(found.shares_B[0])))
                limits_Q[question] = np.inf
        return hits

    def _find(self, texts: Texts, limits_Q: NDArray[np.float64]) -> Contamination:
        rule, own = self._rule, self._of_thread
        if not hasattr(own, "stamps"):
            own.stamps = new_stamps(self._index)
        questions_B, shares_B = find_questions(
            texts,
            self._index,
            limits_Q,
            own.stamps,
            gram_words=rule.gram_words,
            step=rule.step,
            hot=rule.hot,
            by=rule.by,
        )
        return Contamination(questions_B=questions_B, shares_B=shares_B)


def _are_long_enough(questions: Sequence[Question]) -> NDArray[np.bool_]:
    """Questions with words enough to be told from chance."""
    words = index_questions([question.text for question in questions], 1)
    different_Q = np.bincount(words.owners_P, minlength=len(questions))
    are_long: NDArray[np.bool_] = (words.words_Q >= MIN_WORDS) & (different_Q >= MIN_DIFFERENT_WORDS)
    return are_long
