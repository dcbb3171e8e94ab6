"""Packing beside TRL and a torchtitan-style first-fit: padding, documents cut, tokens dropped, speed.

    python -m benchmarks.packing [--lengths FILE.npy]

Lengths are those of the real documents in the development corpora (Tekken tokens and one EOS), in file order and
shuffled; vectors are drawn around 200 Zipf clusters, every source with its own order of them. `--lengths` keeps the
token counts, which take half a minute, in a file. TRL moves the tokens too, the others only place them. Padding is
given without the final flush and with it (peers flush all the time). `cut` counts documents that would have fitted a
row whole; first-fit, written here after its description, cuts none. Speed is in CPU seconds of one process.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from packing.packer import Packer
from packing.packing_config import PackingConfig
from packing.pieces import lengths
from tests.corpus import CORPORA, read_zst_jsonl
from tests.packing.streams import Stream, give, log_normal, zipf_topics

OPEN_BINS = 8  # torchtitan's default
# Most padding without the final flush, in percent, that we hold ourselves to.
GOALS = {
    ("web, shuffled", 4096, "sculpt"): 0.10,
    ("web, shuffled", 32768, "sculpt"): 0.02,
    ("web, file order", 4096, "sculpt"): 0.5,
    ("web, file order", 32768, "sculpt"): 0.08,
    ("log-normal", 2048, "best_fit"): 0.6,
    ("log-normal", 4096, "best_fit"): 0.07,
    ("log-normal", 8192, "best_fit"): 0.2,
    ("log-normal", 32768, "best_fit"): 0.012,
    ("zipf topics", 8192, "sculpt"): 0.5,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One method on one stream."""

    method: str
    padding: float  # share of the rows' tokens, the final flush left out
    padding_with_flush: float
    documents_cut: int  # that would have fitted
    tokens_dropped: float  # share
    cpu_s: float
    coherence: float | None = None
    longest_wait: int | None = None


def pack_ours(stream: Stream, context_length: int, mode: str) -> Result:
    """Our packer, 512 documents a call."""
    dimension = stream.embeddings_BD.shape[1]
    config = PackingConfig(context_length=context_length, mode="sculpt" if mode == "sculpt" else "best_fit")
    packer = Packer(config, dimension=dimension)
    started = time.process_time()
    starts = range(0, len(stream.lengths_B), 512)
    rows = [*(give(packer, stream, start, start + 512) for start in starts), packer.flush()]
    cpu_s = time.process_time() - started
    stats = packer.stats
    placed = sum(int(lengths(each.pieces_S).sum()) for each in rows)
    padding = stats.padding_tokens + stats.padding_tokens_flushed
    return Result(
        method=mode,
        padding=stats.padding_tokens / ((stats.rows - stats.rows_flushed) * context_length),
        padding_with_flush=padding / (stats.rows * context_length),
        documents_cut=stats.documents_cut,
        tokens_dropped=1 - placed / int(stream.lengths_B.sum()),
        cpu_s=cpu_s,
        coherence=stats.coherence if dimension else None,
        longest_wait=stats.longest_wait,
    )


def pack_trl(stream: Stream, context_length: int, strategy: str) -> Result:
    """trl.pack_dataset as SFTTrainer calls it: batches of 1,000 documents."""
    import datasets
    import pyarrow as pa
    from trl.data_utils import pack_dataset

    datasets.disable_progress_bars()
    lengths_B = stream.lengths_B
    offsets_B = np.concatenate(([0], np.cumsum(lengths_B)))
    tokens_T = pa.array(np.zeros(offsets_B[-1], np.int32))
    documents = pa.LargeListArray.from_arrays(pa.array(offsets_B, pa.int64()), tokens_T)
    dataset = datasets.Dataset(pa.table({"input_ids": documents}))
    started = time.process_time()
    packed = pack_dataset(dataset, context_length, strategy, {"keep_in_memory": True})
    cpu_s = time.process_time() - started
    segments = np.concatenate([np.asarray(row, np.int64) for row in packed["seq_lengths"]])
    placed = int(segments.sum())
    # A document that would have fitted and is there whole leaves a segment of its length.
    fitting = np.bincount(lengths_B[lengths_B <= context_length], minlength=context_length + 1)
    missing = np.maximum(fitting - np.bincount(segments, minlength=context_length + 1), 0)
    padding = 1 - placed / (len(packed) * context_length)
    return Result(
        method=f"trl {strategy}",
        padding=padding,
        padding_with_flush=padding,
        documents_cut=int(missing.sum()),
        tokens_dropped=1 - placed / int(lengths_B.sum()),
        cpu_s=cpu_s,
    )


def pack_first_fit(stream: Stream, context_length: int) -> Result:
    """torchtitan's first-fit: 8 open bins, all closed when one document fits none; longer documents are dropped."""
    started = time.process_time()
    rooms: list[int] = []
    num_rows = dropped = 0
    for length in stream.lengths_B.tolist():
        if length > context_length:
            dropped += length
            continue
        for row, room in enumerate(rooms):
            if length <= room:
                rooms[row] -= length
                break
        else:
            if len(rooms) == OPEN_BINS:
                num_rows += OPEN_BINS
                rooms = []
            rooms.append(context_length - length)
    num_rows += len(rooms)
    cpu_s = time.process_time() - started
    total = int(stream.lengths_B.sum())
    padding = 1 - (total - dropped) / (num_rows * context_length)
    return Result(
        method=f"first-fit, {OPEN_BINS} bins",
        padding=padding,
        padding_with_flush=padding,
        documents_cut=0,
        tokens_dropped=dropped / total,
        cpu_s=cpu_s,
    )


def count_tokens(folder: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens of every document of the folder's files, EOS included, and the file it comes from."""
    import mistral_common
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    path = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    tokenizer = Tekkenizer.from_file(path)._model
    files = sorted(folder.glob("*.jsonl.zst"))
    counts = [
        (len(tokenizer.encode_ordinary(document["text"])) + 1, place)
        for place, file in enumerate(files)
        for document in read_zst_jsonl(file)
    ]
    columns = np.array(counts, np.int64)
    return columns[:, 0], columns[:, 1]


def web_streams(lengths_file: Path | None) -> Iterator[tuple[str, Stream]]:
    """The real lengths, in file order and shuffled."""
    if lengths_file is not None and lengths_file.exists():
        lengths_B, files_B = np.load(lengths_file)
    else:
        lengths_B, files_B = count_tokens(CORPORA / "web")
        if lengths_file is not None:
            np.save(lengths_file, np.stack((lengths_B, files_B)))
    rng = np.random.default_rng(5)
    dimension, num_clusters = 384, 200
    shares = 1 / np.arange(1, num_clusters + 1)
    centers = rng.normal(size=(num_clusters, dimension))
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    clusters_B = np.empty(len(lengths_B), np.int64)
    for file in range(int(files_B.max()) + 1):
        own = np.flatnonzero(files_B == file)
        clusters_B[own] = rng.permutation(num_clusters)[rng.choice(num_clusters, len(own), p=shares / shares.sum())]
    vectors_BD = centers[clusters_B] + rng.normal(size=(len(lengths_B), dimension)) * 0.6 / np.sqrt(dimension)
    vectors_BD /= np.linalg.norm(vectors_BD, axis=1, keepdims=True)
    order_B = rng.permutation(len(lengths_B))
    yield "web, file order", Stream(lengths_B, vectors_BD.astype(np.float32))
    yield "web, shuffled", Stream(lengths_B[order_B], vectors_BD[order_B].astype(np.float32))


def report(name: str, stream: Stream, context_length: int, result: Result) -> None:
    """One line of the table."""
    goal = GOALS.get((name, context_length, result.method))
    verdict = "" if goal is None else f"<= {goal} {'ok' if 100 * result.padding <= goal else 'MISSED'}"
    coherence = "" if result.coherence is None else f"{result.coherence:.3f}"
    wait = "" if result.longest_wait is None else f"{result.longest_wait}"
    print(
        f"{name:16} {context_length:6} {result.method:17} {100 * result.padding:9.4f} "
        f"{100 * result.padding_with_flush:9.4f} {result.documents_cut:4} {100 * result.tokens_dropped:8.3f} "
        f"{coherence:>9} {wait:>5} {len(stream.lengths_B) / result.cpu_s:10,.0f}  {verdict}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=Path, help="file that keeps the token counts")
    lengths_file: Path | None = parser.parse_args().lengths
    for mode in ("sculpt", "best_fit"):
        pack_ours(zipf_topics(2000), 8192, mode)  # compiled before the first measurement
    print(
        f"{'stream':16} {'L':>6} {'method':17} {'padding %':>9} {'+ flush %':>9} {'cut':>4} {'lost %':>8} "
        f"{'coherence':>9} {'wait':>5} {'docs/s':>10}  goal"
    )
    topics = zipf_topics(40_000)
    report("zipf topics", topics, 8192, pack_ours(topics, 8192, "sculpt"))
    lengths = log_normal(200_000)
    for context_length in (2048, 4096, 8192, 32768):
        report("log-normal", lengths, context_length, pack_ours(lengths, context_length, "best_fit"))
    for name, stream in web_streams(lengths_file):
        for context_length in (4096, 32768):
            for mode in ("sculpt", "best_fit"):
                report(name, stream, context_length, pack_ours(stream, context_length, mode))
            for strategy in ("bfd", "bfd_split"):
                report(name, stream, context_length, pack_trl(stream, context_length, strategy))
            report(name, stream, context_length, pack_first_fit(stream, context_length))


if __name__ == "__main__":
    main()
