"""Cost of the quality rules and of language identification: `python -m benchmarks.quality [CORPORA]`.

Documents of about 3.7 KB, cut at paragraphs from real ones; CPU time of one thread, after a first batch. datatrove's
four filters judge a sample of the same documents, as they come (spaCy's words) and with our splitters.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.datatrove_peer import peer_verdicts
from benchmarks.texts import log_normal_texts
from curation.quality.judge import Quality, QualityConfig
from curation.quality.language import LanguageConfig, identify_languages
from kernels.c4 import SENTENCE_END
from kernels.columns import join_texts
from kernels.quality import measure_documents
from tests.corpus import CORPORA

NUM_DOCUMENTS = 4_000
PEER_DOCUMENTS = 200
BATCH_DOCUMENTS = 512
REPEATS = 5
PEER_FILTERS = ("gopher_quality", "gopher_repetition", "c4", "fineweb")


def cost_us(work: Callable[[], object], num_documents: int) -> float:
    """Least CPU time a document of several runs."""
    work()
    spent = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return 1e6 * min(spent) / num_documents


def main() -> None:
    """Print the table."""
    texts = log_normal_texts(Path(sys.argv[1]) if len(sys.argv) > 1 else CORPORA, NUM_DOCUMENTS)
    batches = [join_texts(texts[first : first + BATCH_DOCUMENTS]) for first in range(0, len(texts), BATCH_DOCUMENTS)]
    quality = Quality(QualityConfig(preset="fineweb"), LanguageConfig())
    parts = {
        "rules": lambda: [measure_documents(batch) for batch in batches],
        "language": lambda: [identify_languages(batch) for batch in batches],
        "whole stage: measure and judge": lambda: [
            quality.judge(quality.measure(batch, ("",) * len(batch))) for batch in batches
        ],
    }
    mean_bytes = sum(len(text.encode()) for text in texts) / len(texts)
    print(f"{len(texts)} documents of {mean_bytes:.0f} bytes\n")
    print("| | us a document | against the whole stage |")
    print("|---|---:|---:|")
    ours_us = 0.0
    for name, work in parts.items():
        ours_us = cost_us(work, len(texts))
        print(f"| curatord, {name} | {ours_us:.1f} | |")
    for title, sentence_end in (("as it comes (spaCy)", None), ("with our splitters", SENTENCE_END)):
        spent_us = peer_verdicts(texts[:PEER_DOCUMENTS], sentence_end).cpu_us
        for name in PEER_FILTERS:
            print(f"| datatrove {title}, {name} | {spent_us[name]:.0f} | |")
        total_us = sum(spent_us[name] for name in PEER_FILTERS)
        print(f"| **datatrove {title}, four filters** | {total_us:.0f} | **{total_us / ours_us:.0f}x** |")


if __name__ == "__main__":
    main()
