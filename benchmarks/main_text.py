"""Main text of pages: ours beside resiliparse, trafilatura and readability, by F1 and processor time, in one run.

Run as `python -m benchmarks.main_text`. Two sets of the development corpora (CURATORD_TEST_CORPORA names their folder):

- *articles*: 93 pages with the text that people marked (Scrapinghub). F1 of word 4-grams, as multisets: of the means of
  precision and recall, as that benchmark has it, and the mean of each page's.
- *phrases*: 493 pages with phrases that must be there and must not (trafilatura's evaluation), counted over all pages.
"""

from __future__ import annotations

import re
import time
import warnings
from collections import Counter
from collections.abc import Callable

import lxml.html
from resiliparse.extract.html2text import extract_plain_text

from curation.acquisition.main_text import main_text
from tests.corpus import CORPORA, read_zst_jsonl

REPEATS = 3
WORD = re.compile(r"\w+")
Extract = Callable[[str], str]


def shingles(text: str) -> Counter[tuple[str, ...]]:
    """The 4-grams of words of a text, with how often they come."""
    words = WORD.findall(text.lower())
    return Counter(tuple(words[at : at + 4]) for at in range(max(1, len(words) - 3))) if words else Counter()


def f1(precision: float, recall: float) -> float:
    """Their harmonic mean."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def articles(found: list[str], golds: list[str]) -> tuple[float, float, float, float]:
    """Precision, recall, F1 of these, and the mean F1 of a page."""
    precisions, recalls = [], []
    for text, gold in zip(found, golds, strict=True):
        ours, theirs = shingles(text), shingles(gold)
        both = (ours & theirs).total()
        precisions.append(both / max(1, ours.total()))
        recalls.append(both / max(1, theirs.total()))
    precision, recall = sum(precisions) / len(golds), sum(recalls) / len(golds)
    return precision, recall, f1(precision, recall), sum(map(f1, precisions, recalls)) / len(golds)


def phrases(found: list[str], wanted: list[list[str]], unwanted: list[list[str]]) -> tuple[float, float, float]:
    """Precision, recall and F1 over all phrases."""
    hits = sum(phrase in text for text, of_page in zip(found, wanted, strict=True) for phrase in of_page)
    wrong = sum(phrase in text for text, of_page in zip(found, unwanted, strict=True) for phrase in of_page)
    precision, recall = hits / max(1, hits + wrong), hits / sum(map(len, wanted))
    return precision, recall, f1(precision, recall)


def extractors() -> dict[str, Extract]:
    """All that are measured, by name."""
    import trafilatura
    from readability import Document

    def readable(page: str) -> str:
        try:
            return str(lxml.html.fromstring(Document(page).summary()).text_content())
        except Exception:  # it raises many kinds of errors on strange pages
            return ""

    return {
        "curatord": main_text,
        "resiliparse, main content": lambda page: extract_plain_text(page, main_content=True),
        "resiliparse, main content, no comments, alt texts, notes": lambda page: extract_plain_text(
            page, main_content=True, alt_texts=False, comments=False, post_meta=False
        ),
        "resiliparse, all text": extract_plain_text,
        "trafilatura": lambda page: trafilatura.extract(page) or "",
        "trafilatura, no comments": lambda page: trafilatura.extract(page, include_comments=False) or "",
        "trafilatura, fast": lambda page: trafilatura.extract(page, fast=True) or "",
        "readability-lxml": readable,
    }


def main() -> None:
    """Measure all, each page by every extractor before the next page's turn comes."""
    warnings.simplefilter("ignore")
    pages = list(read_zst_jsonl(CORPORA / "crawl" / "html-pages.jsonl.zst"))
    marked = [page for page in pages if "main_text" in page]
    listed = [page for page in pages if "gold_with" in page]
    used = [*marked, *listed]
    num_characters = sum(len(page["text"]) for page in used) / len(used)
    print(f"{len(marked)} articles, {len(listed)} pages with phrases, {num_characters:,.0f}")
    print("characters a page; the fastest of", REPEATS, "repeats\n")
    print("| extractor | articles: P | R | F1 | F1 a page | phrases: P | R | F1 | µs a page |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name, extract in extractors().items():
        times = []
        for _ in range(REPEATS):
            began = time.process_time()
            found = [extract(page["text"]) for page in used]
            times.append(1e6 * (time.process_time() - began) / len(used))
        values = articles(found[: len(marked)], [page["main_text"] for page in marked])
        values += phrases(
            found[len(marked) :], [page["gold_with"] for page in listed], [page["gold_without"] for page in listed]
        )
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} | {min(times):,.0f} |", flush=True)


if __name__ == "__main__":
    main()
