"""How related the documents of a row are, beside DataSculpt's greedy over the whole corpus, on real vectors.

    python -m benchmarks.coherence INPUT.jsonl OUTPUT [--lengths 32768 131072] [--pools 1000 4000 12000]

OUTPUT is a folder that `curatord curate INPUT.jsonl -o OUTPUT` made, whose student gives the vectors. Packer and
clusters are those of the daemon, tick by tick. Coherence is the mean cosine of two pieces of a row, averaged over rows
of at least two; `steady` leaves out rows that the last flush closed from an emptying pool. The offline greedy
(k-means of 100 clusters, longest first, weights 1, 1, 1; NumPy) sees everything at once, cuts documents, and leaves
out what does not fill a row. Time is in CPU microseconds a document, the copying of arguments included.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curation.topics.clusters import TICK_DOCUMENTS, Clusters, ClustersConfig
from curation.topics.isodata import spherical_kmeans
from curation.vectors.student import Student
from kernels.columns import Ragged, bounds_of, join_texts
from packing.packer import Packer
from packing.packing_config import PackingConfig
from packing.tokenizer import TokenizerConfig, open_tokenizer
from state.store import Store, state_folder
from tests.packing.streams import Row, Stream, give, rows_of

SEED_DOCUMENTS = 2048
OFFLINE_CLUSTERS = 100
WARM_UP = 4096  # context length of the run that compiles


@dataclass(frozen=True, slots=True)
class Corpus:
    """N documents as tokens."""

    tokens: list[NDArray[np.uint32]]
    lengths_N: NDArray[np.int64]
    vectors_ND: NDArray[np.float32]
    student: Student

    def for_length(self, length: int) -> Stream:
        """The vectors that the pool sees: for documents longer than a row those of their tails."""
        vectors_ND = self.vectors_ND.copy()
        long_B = np.flatnonzero(self.lengths_N > length)
        tails = [self.tokens[n][(len(self.tokens[n]) - 1) // length * length :] for n in long_B.tolist()]
        if tails:
            vectors_ND[long_B] = embed(self.student, tails)
        return Stream(self.lengths_N, vectors_ND)


def embed(student: Student, documents: Sequence[NDArray[np.uint32]]) -> NDArray[np.float32]:
    """Student vectors."""
    return student.embed(Ragged(np.concatenate(documents), bounds_of([len(tokens) for tokens in documents])))


def load(path: Path, output: Path) -> Corpus:
    """Documents of a file, each text once, with the student of an output."""
    texts = list(dict.fromkeys(json.loads(line)["text"] for line in path.open(encoding="utf-8")))
    stored = Store(state_folder(output), read_only=True)
    student = Student.from_bytes(b"".join(part for _, part in stored.items("embedding")))
    tokenizer, tokens = open_tokenizer(TokenizerConfig()), []
    for first in range(0, len(texts), 256):
        tokens += [ids.astype(np.uint32) for ids in tokenizer.encode_batch(join_texts(texts[first : first + 256]))]
    return Corpus(tokens, np.array([len(ids) for ids in tokens]), embed(student, tokens), student)


def coherence(groups: Sequence[Sequence[int]], vectors_ND: NDArray[np.float32]) -> float:
    """Mean cosine of two of a group, averaged over groups."""
    sums = [(vectors_ND[group].sum(axis=0), len(group)) for group in map(list, groups) if len(group) > 1]
    return float(np.mean([(float(v @ v) - n) / (n * (n - 1)) for v, n in sums])) if sums else float("nan")


def pack(stream: Stream, config: PackingConfig) -> tuple[list[Row], list[Row], Packer, float]:
    """Rows that closed by themselves, those of the last flush, and the time."""
    vectors_ND = stream.embeddings_BD
    clusters, packer = Clusters(ClustersConfig()), Packer(config, dimension=vectors_ND.shape[1])
    clusters.seed(vectors_ND[:SEED_DOCUMENTS])
    rows, cpu_s = [], 0.0
    for start in range(0, len(vectors_ND), TICK_DOCUMENTS):
        clusters.assign(vectors_ND[start : start + TICK_DOCUMENTS])
        began = time.process_time()
        if packer.is_division_due:
            packer.divide(clusters.centres()[1])
        rows.append(give(packer, stream, start, start + TICK_DOCUMENTS))
        cpu_s += time.process_time() - began
    return [row for part in rows for row in rows_of(part)], rows_of(packer.flush()), packer, cpu_s


def offline(stream: Stream, length: int) -> str:
    """DataSculpt over everything: within each cluster the longest first, each to the row with the highest score."""
    lengths_N, vectors_ND = np.minimum(stream.lengths_B, length), stream.embeddings_BD
    labels_N = spherical_kmeans(vectors_ND, OFFLINE_CLUSTERS, np.random.default_rng(0), restarts=1)
    rows: list[list[int]] = []
    left = num_cut = 0
    for cluster in range(OFFLINE_CLUSTERS):
        members = np.flatnonzero(labels_N == cluster)
        num_rows = int(lengths_N[members].sum()) // length
        if not num_rows:
            left += int(lengths_N[members].sum())
            continue
        sums_RD, rooms_R = np.zeros((num_rows, vectors_ND.shape[1])), np.full(num_rows, float(length))
        own: list[list[int]] = [[] for _ in range(num_rows)]
        for n in members[np.argsort(-lengths_N[members], kind="stable")].tolist():
            if (rooms_R <= 0).all():
                break
            norms_R = np.linalg.norm(sums_RD, axis=1)
            cosines_R = np.where(norms_R > 0, sums_RD @ vectors_ND[n] / np.maximum(norms_R, 1e-9), 1.0)
            cut_R = np.maximum(0, lengths_N[n] - rooms_R) / lengths_N[n]
            scores_R = np.where(rooms_R > 0, cosines_R + rooms_R / length - cut_R, -np.inf)
            best = int(scores_R.argmax())
            num_cut += int(lengths_N[n] > rooms_R[best])
            own[best].append(n)
            sums_RD[best] += vectors_ND[n]
            rooms_R[best] -= lengths_N[n]
        rows += own
    return (
        f"{coherence(rows, vectors_ND):9.3f}{'':34} cut {100 * num_cut / len(lengths_N):.1f} % of documents, "
        f"left out {100 * left / lengths_N.sum():.1f} % of tokens"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--lengths", type=int, nargs="+", default=[4096, 32_768, 131_072])
    parser.add_argument("--pools", type=int, nargs="*", default=[1000, 4000, 12_000])
    arguments = parser.parse_args()
    corpus = load(arguments.input, arguments.output)
    print(f"{len(corpus.tokens):,} documents, {int(corpus.lengths_N.sum()):,} tokens")
    pack(corpus.for_length(WARM_UP), PackingConfig(context_length=WARM_UP))
    print(f"{'L':>7} {'pool':>8} {'coherence':>9} {'steady':>7} {'us/doc':>7} {'wait':>7} {'padding %':>9}")
    for length in arguments.lengths:
        stream = corpus.for_length(length)
        print(f"{length:7} {'offline':>8} {offline(stream, length)}", flush=True)
        for pool in (*arguments.pools, None):
            config = PackingConfig(context_length=length, pool_documents=pool, shuffle_block_rows=1)
            closed, flushed, packer, cpu_s = pack(stream, config)
            groups = [[[piece.doc_no for piece in row.pieces] for row in rows] for rows in (closed, flushed)]
            stats, vectors_ND = packer.stats, stream.embeddings_BD
            print(
                f"{length:7} {config.pool_size if pool else f'{config.pool_size}*':>8} "
                f"{coherence(groups[0] + groups[1], vectors_ND):9.3f} {coherence(groups[0], vectors_ND):7.3f} "
                f"{1e6 * cpu_s / len(corpus.tokens):7.1f} {stats.longest_wait:7} {100 * stats.padding:9.4f}"
                f"  cut {stats.documents_cut}",
                flush=True,
            )


if __name__ == "__main__":
    main()
