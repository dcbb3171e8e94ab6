"""Commonness by the sketch against exact counts of all n-grams: rank correlation, processor time, bytes of a commit.

    python -m benchmarks.commonness [DOCUMENTS]
    python -m benchmarks.commonness speed [DOCUMENTS]

Documents of mixed corpora in one order by chance, as tokens of tekken, in ticks of 512. The first quarter teaches; the
others are ranked. Speed is that of the counts, and of weighing as a whole with everything on and with everything off;
for a ratio to another checkout, run both by turns, with PYTHONPATH, on one core.
"""

from __future__ import annotations

import random
import sys
import time

import numpy as np
from scipy.stats import spearmanr

from curation.batch import Tick
from curation.selection.commonness import Sketch
from curation.selection.reward_sources import ORDER, TARGET
from curation.selection.weighing import Band, Weighing, WeightsConfig
from kernels.columns import join_texts
from ops.memory import keep_freed_memory
from packing.tokenizer import TokenizerConfig, open_tokenizer
from state.epoch import Epoch
from state.token_arrays import Tokens
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


def tokens_of(texts: list[str]) -> list[Tokens]:
    """By tekken."""
    return list(open_tokenizer(TokenizerConfig()).encode_batch(join_texts(texts)))


def tick_of(tokens: list[Tokens], first: int) -> Tick:
    """A tick of some documents with scores of a target."""
    rng, size = np.random.default_rng(first), len(tokens)
    return Tick(
        doc_nos_B=np.arange(first, first + size),
        keys_B=rng.integers(0, 2**63, size).astype(np.uint64),
        sources=("",) * size,
        languages=("en",) * size,
        num_tokens_B=np.array([len(array) for array in tokens]),
        qualities_B=np.ones(size, np.float32),
        scores_BM=rng.standard_normal((size, 2)).astype(np.float32),
        embeddings_BD=np.zeros((size, 0), np.float32),
        clusters_B=np.zeros(size, np.int32),
        propensities_B=np.ones(size, np.float32),
        weights_B=np.ones(size, np.float32),
        policy_version=0,
    )


def speed(number: int) -> None:
    """Microseconds a document by tick, of counting and of weighing as a whole, until it is written to an epoch."""
    keep_freed_memory()
    tokens = tokens_of(documents(number))
    ticks = [tokens[first : first + TICK] for first in range(0, len(tokens), TICK)]
    sketch = Sketch(64 << 20)
    band = Band(min=0.1, max=1e9)
    on = WeightsConfig(by=("commonness", "target"), after_tokens=1, perplexity=band, entropy=band)
    weighings = {
        "everything on": Weighing(on, names=(TARGET, ORDER)),
        "everything off": Weighing(WeightsConfig(), names=(TARGET, ORDER)),
    }
    micros: dict[str, list[float]] = {name: [] for name in ("counts alone", *weighings)}
    for no, some in enumerate(ticks):
        tick = tick_of(some, no * TICK)
        begun = time.process_time()
        sketch.measure_and_count(some, tick.keys_B)
        micros["counts alone"].append(1e6 * (time.process_time() - begun) / len(some))
        for name, weighing in weighings.items():
            epoch = Epoch(number=no, identity="{}")
            begun = time.process_time()
            weighing.given(tick.scores_BM)
            weighing.weigh(tick, no, lambda _: some, epoch)  # noqa: B023
            for table in weighing.tables():
                table.take_changes()
            micros[name].append(1e6 * (time.process_time() - begun) / len(some))
    lengths = sum(map(len, tokens)) / len(tokens)
    for name, found in micros.items():
        late = np.array(found[1:])
        print(
            f"{name}: {np.median(late):.2f} us a document of {lengths:.0f} tokens "
            f"(median tick; best {late.min():.2f}; mean {late.mean():.2f})"
        )


def main(number: int) -> None:
    """A line for each size of the sketch."""
    texts = documents(number)
    tokens = tokens_of(texts)
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
    measure = speed if "speed" in sys.argv else main
    measure(int(sys.argv[-1]) if sys.argv[-1].isdigit() else 3000)
