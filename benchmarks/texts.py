"""Texts of many lengths, cut at paragraphs from real documents."""

from __future__ import annotations

import random
from pathlib import Path

from tests.corpus import read_zst_jsonl

SOURCES = ("web/win32", "web/powershell-docs", "web/peps", "web/arxiv-abstracts", "web/gesetze-de")


def log_normal_texts(corpora: Path, num_texts: int) -> list[str]:
    """Texts of about 3.7 KB (log-normal, median 2.9 KB), as many from each source, in random order."""
    rng = random.Random(7)
    texts: list[str] = []
    for source in SOURCES:
        share: list[str] = []
        part, wanted = "", rng.lognormvariate(7.85, 0.65)
        for row in read_zst_jsonl(corpora / f"{source}.jsonl.zst"):
            for paragraph in row["text"].split("\n\n"):
                part += paragraph + "\n\n"
                if len(part) >= wanted:
                    share.append(part)
                    part, wanted = "", rng.lognormvariate(7.85, 0.65)
            if len(share) >= num_texts // len(SOURCES):
                break
        texts += share[: num_texts // len(SOURCES)]
    rng.shuffle(texts)
    return texts
