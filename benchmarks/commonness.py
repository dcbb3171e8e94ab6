"""Commonness by the sketch against exact counts of all n-grams: rank correlation, processor time, bytes of a commit.

    python -m benchmarks.commonness [DOCUMENTS]

Documents of mixed corpora in one order by chance, as tokens of tekken, in ticks of 512. The first quarter teaches; the
others are ranked.
"""

from __future__ import annotations

import random
import sys
import time

import numpy as np
from scipy.stats import spearmanr

from curation.selection.commonness import Sketch
from kernels.columns import join_texts
from packing.tokenizer import TokenizerConfig, open_tokenizer
from tests.corpus import CORPORA, read_zst_jsonl
from tests.kernels.test_ngram_sketch import exact_nats

NAMES = (
    *("labelled/20newsgroups", "labelled/ag_news_test", "labelled/movie-reviews", "labelled/dclm-human-quality"),
    *("neardup/history-gesetze-docs", "neardup/history-peps-docs", "neardup/extractor-variants"),
    *("web/arxiv-abstracts", "web/tldr", "web/peps", "web/gesetze-de", "web/powershell-docs", "web/win32"),
)
TICK = 512
BANDS = ((0, 100), (100, 300), (300, 1000), (1000, 1 << 30))  # tokens


def documents(number: int) -> list[str]:
    """Texts by chance."""
    texts = [row["text"] for name in NAMES for row in read_zst_jsonl(CORPORA / f"{name}.jsonl.zst") if row.get("text")]
    random.Random(0).shuffle(texts)
    return texts[:number]


def main(number: int) -> None:
    """A line for each size of the sketch."""
    texts = documents(number)
    tokens = list(open_tokenizer(TokenizerConfig()).encode_batch(join_texts(texts)))
    lengths_B = np.array([len(array) for array in tokens])
    num_bytes = sum(len(text.encode()) for text in texts) / len(texts)
    print(f"{len(texts):,} documents of {lengths_B.mean():.0f} tokens, {num_bytes:,.0f} bytes")
    exact_B = exact_nats([array.tolist() for array in tokens])
    late_B = np.arange(len(texts)) >= len(texts) // 4
    seeds_B = np.arange(len(texts), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for mebibytes in (256, 64, 16):
        sketch, nats, seconds, written = Sketch(mebibytes << 20), [], [], 0
        sketch.measure_and_count(tokens[:1], seeds_B[:1])  # compile
        sketch = Sketch(mebibytes << 20)
        for first in range(0, len(texts), TICK):
            begun = time.process_time()
            nats.append(sketch.measure_and_count(tokens[first : first + TICK], seeds_B[first : first + TICK])[:, 0])
            seconds.append((time.process_time() - begun) / len(nats[-1]))
            written += sum(len(value or b"") for _, value in sketch.take_changes())
        ranked_B = np.concatenate(nats)
        ranks = [
            f"{spearmanr(ranked_B[some_B], exact_B[some_B])[0]:.4f}"
            for some_B in (late_B, *(late_B & (lengths_B >= a) & (lengths_B < b) for a, b in BANDS))
        ]
        micros = 1e6 * np.array(seconds)
        by_length = ", ".join(f"{a} to {b}: {rank}" for (a, b), rank in zip(BANDS, ranks[1:], strict=True))
        print(
            f"{mebibytes} MiB: {np.median(micros):.1f} us a document (median tick; best {micros.min():.1f}); "
            f"{written / len(texts):,.0f} bytes committed; rank correlation {ranks[0]}; by tokens {by_length}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
