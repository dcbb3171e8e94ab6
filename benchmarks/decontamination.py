"""Cost of decontamination: `python -m benchmarks.decontamination [CORPORA]`.

Documents of about 3.8 KB, cut at paragraphs from real ones; the questions are 20,000 sentences of newsgroup posts. CPU
time of one thread, after a first batch.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.quality import BATCH_DOCUMENTS, NUM_DOCUMENTS, cost_us
from benchmarks.texts import log_normal_texts
from curation.decontamination.questions import Mode, Question, Questions
from kernels.columns import Texts, join_texts
from tests.corpus import CORPORA, read_zst_jsonl

NUM_QUESTIONS = 20_000


def sentences_of(corpora: Path) -> list[str]:
    """Sentences of 13 to 60 words."""
    found: dict[str, None] = {}
    for document in read_zst_jsonl(corpora / "labelled" / "20newsgroups.jsonl.zst"):
        for sentence in re.split(r"(?<=[.?!])\s+|\n\n", document["text"]):
            if 13 <= len(sentence.split()) <= 60:
                found[sentence] = None
        if len(found) >= NUM_QUESTIONS:
            break
    return list(found)[:NUM_QUESTIONS]


def main() -> None:
    """Print the table."""
    corpora = Path(sys.argv[1]) if len(sys.argv) > 1 else CORPORA
    texts = log_normal_texts(corpora, NUM_DOCUMENTS)
    batches = [join_texts(texts[first : first + BATCH_DOCUMENTS]) for first in range(0, len(texts), BATCH_DOCUMENTS)]
    asked = [Question(set="posts", id=str(number), text=text) for number, text in enumerate(sentences_of(corpora))]
    mean_bytes = sum(len(text.encode()) for text in texts) / len(texts)
    print(f"{len(texts)} documents of {mean_bytes:.0f} bytes, {len(asked):,} questions\n")
    print("| mode | us a document |\n|---|---:|")
    modes: tuple[Mode, ...] = ("sampled", "decon", "gpt3", "llama")
    for mode in modes:
        questions = Questions(asked, mode)
        cost = cost_us(partial(_find, questions, batches), len(texts))
        print(f"| {mode} | {cost:.1f} |")


def _find(questions: Questions, batches: Sequence[Texts]) -> None:
    for batch in batches:
        questions.find(batch)


if __name__ == "__main__":
    main()
