"""Near-duplicate removal among documents of one template: `python -m benchmarks.templated_families [--million]`.

A family has a number of words that all its documents share and a number of own words; any two of its documents have
the same similarity. Every twentieth document is a copy (J = 0.85, or 0.80) of an earlier one, but for some of its own
words: these alone tell it from all others, so no copy is harder to find. *Dropped* are documents that are no copy. The
time is that of matching, of the last fifth of the documents; it stands beside that of as many unrelated signatures.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np

from curation.dedup.near import NearDedup, NearDedupConfig
from kernels.columns import join_texts

FAMILIES = {0.56: (40, 14), 0.641: (200, 55), 0.662: (200, 50), 0.685: (200, 45)}
NUM_DOCUMENTS = 40_000
BATCH_DOCUMENTS = 1_000
COPY_EVERY = 20
COPY_SIMILARITIES = (0.85, 0.80)


def new_words(rng: np.random.Generator, number: int) -> list[str]:
    return [f"w{value}" for value in rng.integers(0, 1 << 40, number).tolist()]


def family(shared_words: int, own_words: int, copy_similarity: float, count: int) -> Iterator[tuple[str, bool]]:
    """Text, and whether it is a copy."""
    rng = np.random.default_rng(0)
    shared = new_words(rng, shared_words)
    share = (1 - copy_similarity) / (1 + copy_similarity)
    num_changed = round((shared_words + own_words - 4) * share)
    own: list[list[str]] = []
    for number in range(count):
        is_copy = number % COPY_EVERY == COPY_EVERY - 1
        if is_copy:
            own.append(own[int(rng.integers(number))][:-num_changed] + new_words(rng, num_changed))
        else:
            own.append(new_words(rng, own_words))
        yield " ".join(shared + own[-1]), is_copy


def unrelated_time(count: int) -> float:
    """Microseconds a document for the last fifth of as many unrelated signatures."""
    rng = np.random.default_rng(0)
    near_dedup = NearDedup(NearDedupConfig())
    num_bytes = near_dedup.sign(join_texts(["a text"]))[0].shape[1]
    seconds = 0.0
    for first in range(0, count, BATCH_DOCUMENTS):
        signatures_BP = rng.integers(0, 256, (BATCH_DOCUMENTS, num_bytes), dtype=np.uint8)
        doc_nos_B = np.arange(first, first + BATCH_DOCUMENTS)
        start = time.process_time()
        near_dedup.match(doc_nos_B, signatures_BP, np.ones(BATCH_DOCUMENTS, np.bool_))
        seconds += (time.process_time() - start) * (first >= 0.8 * count)
    return 1e6 * seconds / (0.2 * count)


def run(similarity: float, copy_similarity: float, count: int, unrelated: float) -> str:
    """A row of the table."""
    near_dedup = NearDedup(NearDedupConfig())
    texts = family(*FAMILIES[similarity], copy_similarity, count)
    dropped = found = copies = most_work = 0
    seconds = 0.0
    for first in range(0, count, BATCH_DOCUMENTS):
        batch = [next(texts) for _ in range(BATCH_DOCUMENTS)]
        is_copy_B = np.array([is_copy for _, is_copy in batch])
        signatures_BP, has_words_B = near_dedup.sign(join_texts([text for text, _ in batch]))
        start = time.process_time()
        matches = near_dedup.match(np.arange(first, first + BATCH_DOCUMENTS), signatures_BP, has_words_B)
        seconds += (time.process_time() - start) * (first >= 0.8 * count)
        dropped_B = matches.doc_nos_B >= 0
        copies += is_copy_B.sum()
        found += dropped_B[is_copy_B].sum()
        dropped += dropped_B[~is_copy_B].sum()
        most_work = max(most_work, int(matches.work_B.max()))
    return (
        f"| {similarity} | {count:,} | {100 * dropped / (count - copies):.3f} % "
        f"| {copy_similarity:.2f} | {copies:,} | {100 * found / copies:.2f} % "
        f"| {1e6 * seconds / (0.2 * count):.1f} | {unrelated:.1f} | {most_work} "
        f"| {near_dedup.num_bytes() / len(near_dedup):.0f} |"
    )


def main(count: int, similarities: list[float]) -> None:
    run(0.56, COPY_SIMILARITIES[0], BATCH_DOCUMENTS * 5, 0)  # compiles
    unrelated = unrelated_time(count)
    print("| all pairs J | documents | dropped | copies J | number | found | us each | unrelated | most work | bytes |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for similarity in similarities:
        for copy_similarity in COPY_SIMILARITIES:
            print(run(similarity, copy_similarity, count, unrelated), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--million"]:
        main(1_000_000, [0.685])
    else:
        main(NUM_DOCUMENTS, list(FAMILIES))
