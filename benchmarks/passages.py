"""Cost of passages: `python -m benchmarks.passages [CORPORA]`.

Documents of about 3.8 KB, cut at paragraphs from real ones; CPU time of one thread, after a first batch. Filters are
full of other fingerprints, so that every look-up goes to memory.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.quality import BATCH_DOCUMENTS, NUM_DOCUMENTS, cost_us
from benchmarks.texts import log_normal_texts
from curation.dedup.near import NearDedup, NearDedupConfig
from curation.dedup.passages import Passages, PassagesConfig, fingerprint
from curation.quality.judge import Quality, QualityConfig
from curation.quality.language import LanguageConfig
from kernels.columns import Texts, join_texts
from packing.tokenizer import TokenizerConfig, open_tokenizer
from tests.corpus import CORPORA
from tests.kept import Kept


def main() -> None:
    """Print the table."""
    texts = log_normal_texts(Path(sys.argv[1]) if len(sys.argv) > 1 else CORPORA, NUM_DOCUMENTS)
    batches = [join_texts(texts[first : first + BATCH_DOCUMENTS]) for first in range(0, len(texts), BATCH_DOCUMENTS)]
    near, quality = NearDedup(NearDedupConfig()), Quality(QualityConfig(), LanguageConfig())
    tokenizer = open_tokenizer(TokenizerConfig())
    tokenizer.settle()
    prints = [fingerprint(batch) for batch in batches]
    lane = Passages(PassagesConfig(enabled=True, mask=True), Kept())
    lane._filters_2W[:] = np.random.default_rng(0).integers(0, 1 << 62, lane._filters_2W.shape, np.uint64)

    def prepare(batch: Texts) -> None:
        near.sign(batch)
        quality.measure(batch, ("",) * len(batch))
        tokenizer.encode_batch(batch)

    def judge() -> None:
        for found in prints:
            count = len(found.num_words_B)
            lane.judge(np.arange(count), ("",) * count, found)

    mean_bytes = sum(len(text.encode()) for text in texts) / len(texts)
    num_prints = sum(len(found.of_B.values_T) for found in prints) / len(texts)
    print(f"{len(texts)} documents of {mean_bytes:.0f} bytes, {num_prints:.1f} fingerprints each\n")
    print("| | us a document |\n|---|---:|")
    for name, work in (
        ("preparing without: signatures, rules, tokens", lambda: [prepare(batch) for batch in batches]),
        ("fingerprints, beside it", lambda: [fingerprint(batch) for batch in batches]),
        ("the lane: looked up, and taken", judge),
    ):
        print(f"| {name} | {cost_us(work, len(texts)):.1f} |")


if __name__ == "__main__":
    main()
