"""Verdicts of the quality rules against datatrove's own filters: `python -m benchmarks.quality_agreement [CORPORA]`.

Every document of the web and crawl corpora is judged by both sides at the published thresholds with the same splitters
(words `\\w+`; sentences as in `kernels.c4.SENTENCE_END`), and a sample of them also by datatrove as it comes,
with spaCy's words and sentences. There the verdicts part, mostly for one reason: spaCy counts punctuation marks as
words, so that markup and code fail its share of words with a letter, and n-grams of marks repeat. Texts of more than
a megabyte are left out: datatrove needs minutes for the longest.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np

from benchmarks.datatrove_peer import PeerVerdicts, peer_verdicts
from curation.quality.judge import Quality, QualityConfig
from curation.quality.language import LanguageConfig
from curation.quality.rules import RULES
from kernels.c4 import SENTENCE_END
from kernels.columns import join_texts
from tests.corpus import CORPORA, read_zst_jsonl

FILES = (
    "web/powershell-docs", "web/peps", "web/cncf-glossary", "web/tldr", "web/win32", "web/gesetze-de",
    "web/arxiv-abstracts", "web/arxiv-zh-llm", "web/books", "crawl/extracted-text", "crawl/html-pages",
    "crawl/templated-html", "crawl/warc-responses",
)  # fmt: skip
LONGEST_CHARACTERS = 1_000_000
STOCK_SAMPLE = 60
STOCK_LONGEST_CHARACTERS = 50_000
FILTERS = ("gopher_quality", "gopher_repetition", "c4", "c4_any_ending", "fineweb")


def our_verdicts(texts: list[str]) -> dict[str, np.ndarray]:
    """Kept or not, by filter."""
    quality = Quality(QualityConfig(strict_published=True), LanguageConfig(enabled=False))
    failed_BR = np.concatenate(
        [
            quality.measure(join_texts(part), ("",) * len(part)).failed_BR
            for part in (texts[first : first + 512] for first in range(0, len(texts), 512))
        ]
    )
    filters = np.array([rule.filter for rule in RULES])
    return {name: ~np.asarray(failed_BR[:, filters == name].any(axis=1)) for name in FILTERS}


def differing(ours: dict[str, np.ndarray], theirs: PeerVerdicts, name: str) -> list[int]:
    """Documents on which the two disagree; where datatrove divides by zero it says nothing."""
    pairs = zip(ours[name].tolist(), theirs.kept[name], strict=True)
    return [i for i, (kept, expected) in enumerate(pairs) if expected is not None and kept != expected]


def main() -> None:
    """Print both tables, and the first documents that differ under the same splitters."""
    corpora = Path(sys.argv[1]) if len(sys.argv) > 1 else CORPORA
    rows: dict[str, list[str]] = {"same": [], "stock": []}
    totals = {"same": dict.fromkeys(FILTERS, 0), "stock": dict.fromkeys(FILTERS, 0)}
    counts = {"same": 0, "stock": 0}
    kept = dict.fromkeys(FILTERS, 0)
    silent = dict.fromkeys(FILTERS, 0)
    examples: list[str] = []
    for file in FILES:
        documents = [
            row for row in read_zst_jsonl(corpora / f"{file}.jsonl.zst") if len(row["text"]) <= LONGEST_CHARACTERS
        ]
        short = [row for row in documents if len(row["text"]) <= STOCK_LONGEST_CHARACTERS]
        sample = random.Random(file).sample(short, min(STOCK_SAMPLE, len(short)))
        for kind, part, splitter in (("same", documents, SENTENCE_END), ("stock", sample, None)):
            if not part:
                continue
            texts = [row["text"] for row in part]
            ours, theirs = our_verdicts(texts), peer_verdicts(texts, splitter)
            counts[kind] += len(part)
            cells = []
            for name in FILTERS:
                found = differing(ours, theirs, name)
                totals[kind][name] += len(found)
                cells.append(f"{100 - 100 * len(found) / len(part):.2f}")
                if kind == "same":
                    kept[name] += int(ours[name].sum())
                    silent[name] += theirs.kept[name].count(None)
                    examples += [f"{file} {part[i]['id']}: {name}, kept by ours: {ours[name][i]}" for i in found[:3]]
            rows[kind].append(f"| {file} | {len(part)} | {' | '.join(cells)} |")
            print(f"{file}: {kind} splitters compared", file=sys.stderr)
    for kind, title in (("same", "the same splitters"), ("stock", "datatrove as it comes (spaCy), a sample")):
        print(f"\nEqual verdicts in per cent, {title}\n")
        print(f"| documents | number | {' | '.join(FILTERS)} |")
        print(f"|---|---:|{'---:|' * len(FILTERS)}")
        print("\n".join(rows[kind]))
        cells = [f"{100 - 100 * totals[kind][name] / counts[kind]:.3f}" for name in FILTERS]
        print(f"| all | {counts[kind]} | {' | '.join(cells)} |")
        if kind == "same":
            shares = [f"{100 * kept[name] / counts[kind]:.1f}" for name in FILTERS]
            print(f"| *kept by ours, per cent* | | {' | '.join(shares)} |")
            print(f"| *datatrove divides by zero, documents* | | {' | '.join(str(silent[name]) for name in FILTERS)} |")
    print("\nDocuments that differ under the same splitters (three a file and filter)\n")
    print("\n".join(f"- {example}" for example in examples) or "none")


if __name__ == "__main__":
    main()
