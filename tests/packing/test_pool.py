"""The pool: picks as its rule says, waits bounded, rows of related documents."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.pool import Arrivals, Weights
from packing.packer import Packer, PackingConfig
from packing.pool import Pool, quantize
from tests.packing.streams import Row, Stream, add, closed_of, flush, pack_all, zipf_topics

LENGTH = 1000


def weights(max_wait: int = 10**9, **changes: float) -> Weights:
    standard = Weights(
        context_length=LENGTH,
        alpha=1.0,
        beta=0.5,
        continuation_penalty=0.2,
        closing_bonus=0.2,
        due_wait=max_wait * 3 // 4,
        max_wait=max_wait,
    )
    return standard._replace(**changes)


def arrivals_of(lengths: list[int], vectors_ND: NDArray[np.int8], doc_nos: list[int] | None = None) -> Arrivals:
    numbers_N = np.arange(len(lengths))
    return Arrivals(
        vectors_ND=vectors_ND,
        lengths_N=np.array(lengths, np.int64),
        numbers_N=numbers_N,
        arrivals_N=numbers_N,
        doc_nos_N=np.array(doc_nos, np.int64) if doc_nos else numbers_N,
        continued_N=(numbers_N % 5 == 0).astype(np.uint8),
    )


def slice_of(arrivals: Arrivals, start: int, end: int) -> Arrivals:
    return Arrivals(*(column[start:end] for column in arrivals))


def oracle(arrivals: Arrivals, weights: Weights, limit: int) -> list[tuple[int, list[int]]]:
    """The rule, spelled out: rows with the arrival that closed them. All sums from scratch, scores in float32."""
    vectors_ND = arrivals.vectors_ND.astype(np.int64)
    lengths, documents = arrivals.lengths_N.tolist(), arrivals.doc_nos_N.tolist()
    pool: list[int] = []
    row: list[int] = []
    closed = []
    f32 = np.float32

    def score(piece: int, room: int) -> np.float32:
        v = vectors_ND[row].sum(axis=0)
        norms = np.sqrt(f32(max(v @ v, 1))) * np.sqrt(f32(max(vectors_ND[piece] @ vectors_ND[piece], 1)))
        result = f32(weights.alpha) * (f32(vectors_ND[piece] @ v) / norms)
        result += f32(weights.beta) / f32(room) * f32(lengths[piece])
        if arrivals.continued_N[piece]:
            result -= f32(weights.continuation_penalty)
        left = room - lengths[piece]
        closing = max(f32(64 - left) / f32(64), f32(0))
        if left and any(lengths[other] == left for other in pool if other != piece):
            closing = max(closing, f32(0.8))
        return result + f32(weights.closing_bonus) * closing

    for newest in range(len(lengths)):
        pool.append(newest)
        while len(pool) > limit:
            room = LENGTH - sum(lengths[piece] for piece in row)
            used = {documents[piece] for piece in row}
            fitting = [piece for piece in pool if lengths[piece] <= room and documents[piece] not in used]
            due = [piece for piece in fitting if newest - piece >= weights.due_wait]
            overdue = newest - min(pool) >= weights.max_wait
            pick: int | None
            if not row:
                pick = min(pool)
            elif overdue:
                pick = min(pool) if min(pool) in due else None
            elif due:
                pick = min(due)
            else:
                pick = max(fitting, key=lambda piece: (score(piece, room), -piece), default=None)
            if pick is not None:
                row.append(pick)
                pool.remove(pick)
            if pick is None or sum(lengths[piece] for piece in row) == LENGTH:
                closed.append((newest, row))
                row = []
    return closed


@pytest.mark.parametrize("max_wait", [10**9, 90])
@pytest.mark.parametrize("dimension", [1, 24, 100])
def test_every_pick_is_the_rules(dimension: int, max_wait: int) -> None:
    rng = np.random.default_rng(dimension)
    embeddings_ND = rng.normal(size=(500, dimension)).astype(np.float32)
    embeddings_ND /= np.linalg.norm(embeddings_ND, axis=1, keepdims=True)
    lengths = np.clip(rng.lognormal(5.5, 1, 500), 1, LENGTH - 1).astype(int).tolist()
    doc_nos = (np.arange(500) - rng.integers(0, 8, 500) * (rng.random(500) < 0.2)).tolist()
    arrivals = arrivals_of(lengths, quantize(embeddings_ND), doc_nos)
    pool = Pool(weights=weights(max_wait), limit=30, padded_dimension=arrivals.vectors_ND.shape[1])
    assert closed_of(pool.fill(arrivals)) == oracle(arrivals, weights(max_wait), 30)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, LENGTH - 1), min_size=1, max_size=120),
    limit=st.integers(1, 20),
    wait_pools=st.integers(2, 6),
)
def test_no_piece_waits_longer_than_allowed(lengths: list[int], limit: int, wait_pools: int) -> None:
    arrivals = arrivals_of(lengths, np.zeros((len(lengths), 64), np.int8))
    pool = Pool(weights=weights(wait_pools * limit), limit=limit, padded_dimension=64)
    rows = [row for _, row in closed_of(pool.fill(arrivals))]
    assert pool.longest_wait <= wait_pools * limit
    rows += [row.tolist() for row in pool.drain()]
    assert sorted(number for row in rows for number in row) == list(range(len(lengths)))
    assert all(sum(lengths[number] for number in row) <= LENGTH for row in rows)


def test_an_unlucky_piece_closes_the_row_when_it_can_wait_no_longer() -> None:
    # The long piece never fits beside the short ones, of which a row takes 142.
    lengths = [7, LENGTH - 1] + [7] * 300
    arrivals = arrivals_of(lengths, np.zeros((len(lengths), 64), np.int8))
    pool = Pool(weights=weights(80), limit=20, padded_dimension=64)
    rows = [row for _, row in closed_of(pool.fill(arrivals))]
    assert pool.longest_wait == 80
    assert rows[1] == [1]
    assert sum(lengths[number] for number in rows[0]) < LENGTH - 7


def test_calls_may_cut_the_stream_anywhere() -> None:
    stream = zipf_topics(400, max_tokens=LENGTH - 1)
    arrivals = arrivals_of(stream.lengths_B.tolist(), quantize(stream.embeddings_BD))
    expected = [row for _, row in closed_of(Pool(weights=weights(), limit=50, padded_dimension=64).fill(arrivals))]
    for cut in (1, 7, 130):
        pool = Pool(weights=weights(), limit=50, padded_dimension=64)
        rows = [row for s in range(0, 400, cut) for _, row in closed_of(pool.fill(slice_of(arrivals, s, s + cut)))]
        assert rows == expected


def test_two_uses_of_a_document_never_meet_in_a_row() -> None:
    stream = zipf_topics(600, max_tokens=300)
    packer = Packer(PackingConfig(context_length=4096, pool_documents=100, shuffle_block_rows=1), dimension=64)
    rows: list[Row] = []
    for start in range(0, 600, 20):
        for use in range(3):
            rows += add(packer, stream, start, start + 20, use=use)
    rows += flush(packer)
    assert all(len({piece.doc_no for piece in row.pieces}) == len(row.pieces) for row in rows)
    assert sum(len(row.pieces) for row in rows) == 1800


def exact_coherence(rows: list[Row], stream: Stream) -> float:
    """Techniques' closed form with the vectors as they came."""
    cosines, pairs = 0.0, 0
    for row in rows:
        n = len(row.pieces)
        if n > 1:
            sum_D = stream.embeddings_BD[[piece.doc_no for piece in row.pieces]].astype(np.float64).sum(axis=0)
            cosines += sum_D @ sum_D - n
            pairs += n * (n - 1)
    return cosines / pairs


def test_related_documents_share_rows() -> None:
    """40,000 documents of 200 topics: coherence 0.55 at least (random 0.03, offline 0.76), and 99.5 % full rows."""
    stream = zipf_topics(40_000)
    packer = Packer(PackingConfig(context_length=8192), dimension=64)
    rows = pack_all(packer, stream)
    stats = packer.stats
    assert stats.tokens / (stats.rows * 8192) >= 0.995
    assert exact_coherence(rows, stream) >= 0.8 * 0.76
    assert stats.coherence == pytest.approx(exact_coherence(rows, stream), abs=2e-3)
    assert stats.documents_cut == 0
    assert stats.longest_wait <= 4000


def test_bytes_keep_the_cosine() -> None:
    rng = np.random.default_rng(0)
    embeddings_BD = rng.normal(size=(200, 384))
    embeddings_BD /= np.linalg.norm(embeddings_BD, axis=1, keepdims=True)
    bytes_BD = quantize(embeddings_BD.astype(np.float32)).astype(np.float64)
    products_BB = bytes_BD @ bytes_BD.T / (1024 * 384)
    errors_BB = np.abs(products_BB - embeddings_BD @ embeddings_BD.T)
    assert errors_BB.mean() < 0.001
    assert errors_BB.max() < 0.02  # of a vector with itself, if a component is beyond four standard deviations
