"""Near-duplicate removal against datasketch and rensa: `python -m benchmarks.near_dedup [CORPORA]`.

Scenario near-dedup: documents of about 3.7 KB, cut at paragraphs from real ones, as raw JSON lines; every contender
reads the same bytes in the same process, one thread, and says for every line whether it is a near-duplicate. The
contenders take turns; the figure is the median of their CPU times. All take 5-word shingles, and words as `\\w+` of
lower-cased text, but where `split` stands: there the peer cuts at white space, which is cheaper and finds others.

Scenario near-dedup-memory: bytes a document and time of the index at a million synthetic signatures.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import rensa
import xxhash
from datasketch import MinHash, MinHashLSH

from benchmarks.texts import log_normal_texts
from curation.dedup.near import NearDedup, NearDedupConfig
from kernels.columns import join_texts
from tests.corpus import CORPORA

NUM_DOCUMENTS = 8_000
REPEATS = 5
BATCH_DOCUMENTS = 1_000
THRESHOLD = 0.8
PEER_PERMUTATIONS = 128
SHINGLE_WORDS = 5
NUM_SYNTHETIC = 1_000_000


class Document(msgspec.Struct):
    id: str
    text: str


Decoder = msgspec.json.Decoder(Document)


def documents(corpora: Path) -> list[bytes]:
    """JSON lines."""
    texts = log_normal_texts(corpora, NUM_DOCUMENTS)
    return [msgspec.json.encode(Document(id=f"doc-{i}", text=text)) for i, text in enumerate(texts)]


def curatord(lines: list[bytes], config: NearDedupConfig) -> list[bool]:
    near_dedup, removed = NearDedup(config), []
    for first in range(0, len(lines), BATCH_DOCUMENTS):
        texts = [Decoder.decode(line).text for line in lines[first : first + BATCH_DOCUMENTS]]
        signatures_BP, has_words_B = near_dedup.sign(join_texts(texts))
        matches = near_dedup.match(np.arange(first, first + len(texts)), signatures_BP, has_words_B)
        removed += (matches.doc_nos_B >= 0).tolist()
    return removed


def shingles(words: list[str]) -> set[str]:
    if len(words) < SHINGLE_WORDS:
        return {" ".join(words)} if words else set()
    return {" ".join(words[i : i + SHINGLE_WORDS]) for i in range(len(words) - SHINGLE_WORDS + 1)}


def regular_words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def split_words(text: str) -> list[str]:
    return text.lower().split()


Words = Callable[[str], list[str]]


def rensa_streaming(lines: list[bytes], words: Words) -> list[bool]:
    index = rensa.RMinHashDeduplicator(THRESHOLD, PEER_PERMUTATIONS, True, 16, 42)
    removed = []
    for number, line in enumerate(lines):
        signature = rensa.RMinHash(PEER_PERMUTATIONS, 42)
        signature.update(list(shingles(words(Decoder.decode(line).text))))
        removed.append(not index.add(str(number), signature))
    return removed


def rensa_matrix(lines: list[bytes], words: Words) -> list[bool]:
    sets = [list(shingles(words(Decoder.decode(line).text))) for line in lines]
    matrix = rensa.RMinHash.digest_matrix_from_token_sets(sets, PEER_PERMUTATIONS, 42)
    return rensa.RMinHashLSH(THRESHOLD, PEER_PERMUTATIONS, 16).query_duplicate_flags_matrix_one_shot(matrix)


def datasketch(lines: list[bytes], words: Words) -> list[bool]:
    index = MinHashLSH(threshold=THRESHOLD, num_perm=PEER_PERMUTATIONS, params=(16, 8))
    first = MinHash(num_perm=PEER_PERMUTATIONS, hashfunc=xxhash.xxh32_intdigest, scheme="affine32")
    removed = []
    for number, line in enumerate(lines):
        signature = first.copy()
        signature.update_batch([shingle.encode() for shingle in shingles(words(Decoder.decode(line).text))])
        removed.append(bool(index.query(signature)))
        if not removed[-1]:
            index.insert(number, signature)
    return removed


def speed(corpora: Path) -> None:
    lines = documents(corpora)
    contenders: dict[str, Callable[[], list[bool]]] = {
        "curatord": lambda: curatord(lines, NearDedupConfig()),
        "rensa RMinHash matrix + LSH": lambda: rensa_matrix(lines, regular_words),
        "rensa RMinHash matrix + LSH, split": lambda: rensa_matrix(lines, split_words),
        "rensa RMinHash + Deduplicator": lambda: rensa_streaming(lines, regular_words),
        "datasketch affine32, xxh32 + LSH": lambda: datasketch(lines, regular_words),
        "datasketch affine32, xxh32 + LSH, split": lambda: datasketch(lines, split_words),
    }
    curatord(lines[:100], NearDedupConfig())  # compiles
    times: dict[str, list[float]] = {name: [] for name in contenders}
    removed = {}
    for _ in range(REPEATS):
        for name, contender in contenders.items():
            start = time.process_time()
            removed[name] = sum(contender())
            times[name].append(time.process_time() - start)
    num_bytes = sum(map(len, lines))
    own = statistics.median(times["curatord"])
    print(
        f"{len(lines)} documents of {num_bytes / len(lines) / 1000:.1f} KB; CPU time, median of {REPEATS}, one thread\n"
    )
    print("| near-dedup | us a document | documents/s | MB/s | times curatord's | dropped |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, seconds in times.items():
        median = statistics.median(seconds)
        rates = f"{len(lines) / median:,.0f} | {num_bytes / median / 1e6:,.0f}"
        print(f"| {name} | {1e6 * median / len(lines):.1f} | {rates} | {median / own:.1f} | {removed[name]} |")


def resident_bytes(field: str) -> int:
    """Memory of this process: VmRSS now, VmHWM at its peak."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.findall(rf"{field}:\s+(\d+)", status)[0])


def memory() -> None:
    """Run in a process of its own, whose memory is the index's."""
    rng = np.random.default_rng(0)
    count = 10 * BATCH_DOCUMENTS
    num_bytes = NearDedup(NearDedupConfig()).sign(join_texts(["a text"]))[0].shape[1]

    def batch(first: int) -> tuple[np.ndarray, ...]:
        signatures_BP = rng.integers(0, 256, (count, num_bytes), dtype=np.uint8)
        return np.arange(first, first + count), signatures_BP, np.ones(count, np.bool_)

    near_dedup = NearDedup(NearDedupConfig())
    for first in range(0, 5 * count, count):  # compiles
        near_dedup.match(*batch(first))
    near_dedup = NearDedup(NearDedupConfig())
    before, seconds = resident_bytes("VmRSS"), 0.0
    for first in range(0, NUM_SYNTHETIC, count):
        arguments = batch(first)
        start = time.process_time()
        near_dedup.match(*arguments)
        seconds += time.process_time() - start
    now, peak = resident_bytes("VmRSS") - before, resident_bytes("VmHWM") - before
    print("| near-dedup-memory | documents | bytes a document | resident | resident at the peak | us a document |")
    print("|---|---:|---:|---:|---:|---:|")
    number = len(near_dedup)
    bytes_each = f"{near_dedup.num_bytes() / number:.0f} | {now / number:.0f} | {peak / number:.0f}"
    print(f"| curatord | {number:,} | {bytes_each} | {1e6 * seconds / number:.2f} |")


if __name__ == "__main__":
    if sys.argv[1:] == ["--memory"]:
        memory()
    else:
        speed(Path(sys.argv[1]) if sys.argv[1:] else CORPORA)
        print(flush=True)
        subprocess.run([sys.executable, "-m", "benchmarks.near_dedup", "--memory"], check=True)
