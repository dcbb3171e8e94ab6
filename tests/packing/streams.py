"""Streams of documents with known lengths and topics, and a packer's way over them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from packing.packer import Packer
from packing.pieces import Piece, Pieces
from packing.pool import ClosedRows
from packing.rows import Rows
from state.document_numbers import make_numbers


@dataclass(frozen=True, slots=True)
class Stream:
    """Documents in order; the number of a document is its place."""

    lengths_B: NDArray[np.int64]
    embeddings_BD: NDArray[np.float32]
    centres_KD: NDArray[np.float32] | None = None

    def embed(self, doc_nos_B: NDArray[np.int64], starts_B: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.embeddings_BD[doc_nos_B % len(self.lengths_B)]


def zipf_topics(
    num_documents: int, *, seed: int = 3, dimension: int = 64, num_clusters: int = 200, max_tokens: int = 8192
) -> Stream:
    """Log-normal lengths, Zipf clusters, a mean cosine of 0.74 within a cluster."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, num_clusters + 1)
    centers = rng.normal(size=(num_clusters, dimension))
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    clusters_B = rng.choice(num_clusters, num_documents, p=shares / shares.sum())
    vectors_BD = centers[clusters_B] + rng.normal(size=(num_documents, dimension)) * 0.6 / np.sqrt(dimension)
    vectors_BD /= np.linalg.norm(vectors_BD, axis=1, keepdims=True)
    lengths_B = np.clip(rng.lognormal(6.3, 1.1, num_documents), 8, max_tokens).astype(np.int64)
    return Stream(lengths_B, vectors_BD.astype(np.float32), centers.astype(np.float32))


def log_normal(num_documents: int, *, seed: int = 5, median: float = 545, mean: float = 994) -> Stream:
    """Lengths like those of web pages, without vectors."""
    rng = np.random.default_rng(seed)
    sigma = np.sqrt(2 * np.log(mean / median))
    lengths_B = np.maximum(rng.lognormal(np.log(median), sigma, num_documents), 1).astype(np.int64)
    return Stream(lengths_B, np.zeros((num_documents, 0), np.float32))


@dataclass(frozen=True, slots=True)
class Row:
    """One of `Rows`."""

    seq_no: int
    generation: int
    pieces: tuple[Piece, ...]

    def num_tokens(self) -> int:
        return sum(piece.end - piece.start for piece in self.pieces)


def pieces_of(pieces_N: Pieces) -> list[Piece]:
    names = ("arrival", "doc_no", "start", "end", "num_tokens", "use")
    return [
        Piece(**{name: int(piece[name]) for name in names}, numbers=piece["numbers"].tobytes()) for piece in pieces_N
    ]


def rows_of(rows: Rows) -> list[Row]:
    pieces = pieces_of(rows.pieces_S)
    return [
        Row(seq_no, rows.generation, tuple(pieces[first:end]))
        for seq_no, (first, end) in zip(rows.seq_nos_R.tolist(), pairwise(rows.bounds_R1.tolist()), strict=True)
    ]


def closed_of(closed: ClosedRows) -> list[tuple[int, list[int]]]:
    """When each row closed, and its pieces."""
    return list(zip(closed.after_R.tolist(), [row.tolist() for row in closed.numbers], strict=True))


def flush(packer: Packer, *, fill: bool = False) -> list[Row]:
    return rows_of(packer.flush(fill=fill))


def give(packer: Packer, stream: Stream, start: int, end: int, *, use: int = 0) -> Rows:
    """Documents [start, end) of the stream; before them the pool is divided, if that is due."""
    if stream.centres_KD is not None and packer.is_division_due:
        packer.divide(stream.centres_KD)
    doc_nos_B = np.arange(start, min(end, len(stream.lengths_B)))
    return packer.add(
        doc_nos_B=doc_nos_B,
        num_tokens_B=stream.lengths_B[doc_nos_B],
        embeddings_BD=stream.embeddings_BD[doc_nos_B],
        numbers_B=make_numbers(
            doc_nos_B % 7, doc_nos_B // 512, 1 / (1 + doc_nos_B % 3), (1 + doc_nos_B % 5) / 2, doc_nos_B % 9 / 8
        ),
        uses_B=np.full(len(doc_nos_B), use),
    )


def add(packer: Packer, stream: Stream, start: int, end: int, *, use: int = 0) -> list[Row]:
    """Documents [start, end) of the stream; the rows one by one."""
    return rows_of(give(packer, stream, start, end, use=use))


def pack_all(packer: Packer, stream: Stream, *, documents_per_call: int = 512) -> list[Row]:
    """The whole stream and the flush."""
    rows = []
    for start in range(0, len(stream.lengths_B), documents_per_call):
        rows += add(packer, stream, start, start + documents_per_call)
    return rows + flush(packer)
