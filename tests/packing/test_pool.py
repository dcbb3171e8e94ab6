"""The pool: picks as its rule says, waits bounded, rows of related documents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.pool import MOST_OF_CELL, TOO_ALIKE, WANTED, Weights
from kernels.pool_slots import Arrivals
from packing.packer import Packer
from packing.packing_config import PackingConfig
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
        ceiling=np.inf,
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


def looked_at(fitting: list[int], seed: int, products_NK: NDArray[np.int64]) -> list[int]:
    """Those that fit, cell by cell: of the seed's first, of each the oldest, until there are enough."""
    cells = products_NK.argmax(axis=1)
    order = np.argsort(-products_NK[seed], kind="stable").tolist()
    found: list[int] = []
    for cell in order:
        found += [piece for piece in fitting if cells[piece] == cell][:MOST_OF_CELL]
        if len(found) >= WANTED:
            break
    return found


def oracle(
    arrivals: Arrivals, weights: Weights, limit: int, centres_KD: NDArray[np.int8]
) -> list[tuple[int, list[int]]]:
    """The rule, spelled out: rows with the arrival that closed them. All sums from scratch, scores in float32."""
    vectors_ND, centres_KD = arrivals.vectors_ND.astype(np.int64), centres_KD.astype(np.int64)
    products_NN, products_NK = vectors_ND @ vectors_ND.T, vectors_ND @ centres_KD.T
    lengths, documents = arrivals.lengths_N.tolist(), arrivals.doc_nos_N.tolist()
    pool: list[int] = []
    row: list[int] = []
    closed = []
    f32 = np.float32

    def score(piece: int, room: int) -> np.float32:
        square, own_square = products_NN[np.ix_(row, row)].sum(), products_NN[piece, piece]
        norms = np.sqrt(f32(max(square, 1))) * np.sqrt(f32(max(own_square, 1)))
        cosine = f32(products_NN[piece, row].sum()) / norms
        result = f32(weights.alpha) * cosine
        result += f32(weights.beta) / f32(room) * f32(lengths[piece])
        if arrivals.continued_N[piece]:
            result -= f32(weights.continuation_penalty)
        left = room - lengths[piece]
        closing = max(f32(64 - left) / f32(64), f32(0))
        if left and any(lengths[other] == left for other in pool if other != piece):
            closing = max(closing, f32(0.8))
        result += f32(weights.closing_bonus) * closing
        return result - TOO_ALIKE if cosine > f32(weights.ceiling) else result

    for newest in range(len(lengths)):
        pool.append(newest)
        while len(pool) > limit:
            room = LENGTH - sum(lengths[piece] for piece in row)
            used = {documents[piece] for piece in row}
            fitting = [piece for piece in pool if lengths[piece] <= room]
            due = [piece for piece in fitting if newest - piece >= weights.due_wait and documents[piece] not in used]
            overdue = newest - min(pool) >= weights.max_wait
            pick: int | None
            if not row:
                pick = min(pool)
            elif overdue:
                pick = min(pool) if min(pool) in due else None
            elif due:
                pick = min(due)
            else:
                near = looked_at(fitting, row[0], products_NK)
                near = [piece for piece in near if documents[piece] not in used]
                pick = max(near, key=lambda piece: (score(piece, room), -piece), default=None)
            if pick is not None:
                row.append(pick)
                pool.remove(pick)
            if pick is None or sum(lengths[piece] for piece in row) == LENGTH:
                closed.append((newest, row))
                row = []
    return closed


@pytest.mark.parametrize(("limit", "max_wait", "ceiling"), [(30, 10**9, 0.3), (30, 90, np.inf), (150, 450, np.inf)])
@pytest.mark.parametrize(("dimension", "num_cells"), [(1, 1), (24, 6), (100, 30)])
def test_every_pick_is_the_rules(dimension: int, num_cells: int, limit: int, max_wait: int, ceiling: float) -> None:
    rng = np.random.default_rng(dimension)
    num_documents = 500
    embeddings_ND = rng.normal(size=(num_documents, dimension)).astype(np.float32)
    embeddings_ND /= np.linalg.norm(embeddings_ND, axis=1, keepdims=True)
    lengths = np.clip(rng.lognormal(5.0, 1, num_documents), 1, LENGTH - 1).astype(int).tolist()
    doc_nos = np.arange(num_documents) - rng.integers(0, 8, num_documents) * (rng.random(num_documents) < 0.2)
    arrivals = arrivals_of(lengths, quantize(embeddings_ND), doc_nos.tolist())
    centres_KD = quantize(embeddings_ND[:num_cells])
    rule = weights(max_wait, ceiling=ceiling)
    pool = Pool(weights=rule, limit=limit, padded_dimension=arrivals.vectors_ND.shape[1], centres_KD=centres_KD)
    assert closed_of(pool.fill(arrivals)) == oracle(arrivals, rule, limit, centres_KD)


def test_of_a_large_cell_the_oldest_are_looked_at() -> None:
    rng = np.random.default_rng(2)
    embeddings_ND = rng.normal(size=(700, 8)).astype(np.float32)
    embeddings_ND /= np.linalg.norm(embeddings_ND, axis=1, keepdims=True)
    arrivals = arrivals_of(rng.integers(50, 300, 700).tolist(), quantize(embeddings_ND))
    centres_KD = np.zeros((1, 128), np.int8)
    pool = Pool(weights=weights(), limit=MOST_OF_CELL + 100, padded_dimension=128)
    assert closed_of(pool.fill(arrivals)) == oracle(arrivals, weights(), MOST_OF_CELL + 100, centres_KD)


def test_a_pool_that_is_divided_anew_is_one_that_begins_with_these_cells() -> None:
    """Pieces move to their new cells, and so does the open row: nothing hangs on when the pool was divided."""
    stream = zipf_topics(900, max_tokens=LENGTH - 1)
    arrivals = arrivals_of(stream.lengths_B.tolist(), quantize(stream.embeddings_BD))
    before_KD, after_KD = quantize(stream.embeddings_BD[:9]), quantize(stream.embeddings_BD[20:60])
    pool = Pool(weights=weights(), limit=300, padded_dimension=128, centres_KD=before_KD)
    pool.fill(slice_of(arrivals, 0, 600))
    open_rows = pool.open_rows()
    picked = np.array(open_rows[0], np.int64)
    begun = Pool(weights=weights(), limit=300, padded_dimension=128, centres_KD=after_KD)
    gone = {number for _, row in closed_of(Pool(**_like(before_KD)).fill(slice_of(arrivals, 0, 600))) for number in row}
    waiting = np.array([n for n in range(600) if n not in gone and n not in open_rows[0]])
    rows = [Arrivals(*(column[picked] for column in arrivals))]
    begun.load(rows=rows, waiting=Arrivals(*(column[waiting] for column in arrivals)), newest=599)
    pool.divide(after_KD)
    rest = slice_of(arrivals, 600, 900)
    assert closed_of(pool.fill(rest)) == closed_of(begun.fill(rest))


def _like(centres_KD: NDArray[np.int8]) -> dict[str, Any]:
    return {"weights": weights(), "limit": 300, "padded_dimension": 128, "centres_KD": centres_KD}


def test_pieces_that_are_removed_leave_the_others_as_they_were() -> None:
    stream = zipf_topics(700, max_tokens=LENGTH - 1)
    arrivals = arrivals_of(stream.lengths_B.tolist(), quantize(stream.embeddings_BD))
    centres_KD = quantize(stream.embeddings_BD[:20])
    pool = Pool(**_like(centres_KD))
    pool.fill(slice_of(arrivals, 0, 300))  # nothing was picked yet
    removed = np.arange(0, 300, 3)
    pool.remove(removed)
    begun = Pool(**_like(centres_KD))
    kept = np.setdiff1d(np.arange(300), removed)
    begun.load(rows=[], waiting=Arrivals(*(column[kept] for column in arrivals)), newest=299)
    rest = slice_of(arrivals, 300, 700)
    assert closed_of(pool.fill(rest)) == closed_of(begun.fill(rest))


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
    expected = [row for _, row in closed_of(Pool(weights=weights(), limit=50, padded_dimension=128).fill(arrivals))]
    for cut in (1, 7, 130):
        pool = Pool(weights=weights(), limit=50, padded_dimension=128)
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
    """40,000 documents of 200 topics: 85 % of the coherence of offline packing (0.76), and 99.5 % full rows."""
    stream = zipf_topics(40_000)
    config = PackingConfig(context_length=8192)
    packer = Packer(config, dimension=64)
    rows = pack_all(packer, stream)
    stats = packer.stats
    assert stats.tokens / (stats.rows * 8192) >= 0.995
    assert exact_coherence(rows, stream) >= 0.85 * 0.76
    assert stats.coherence == pytest.approx(exact_coherence(rows, stream), abs=2e-3)
    assert stats.documents_cut == 0
    assert stats.longest_wait <= config.max_wait


def test_bytes_keep_the_cosine() -> None:
    rng = np.random.default_rng(0)
    embeddings_BD = rng.normal(size=(200, 384))
    embeddings_BD /= np.linalg.norm(embeddings_BD, axis=1, keepdims=True)
    bytes_BD = quantize(embeddings_BD.astype(np.float32)).astype(np.float64)
    products_BB = bytes_BD @ bytes_BD.T / (1024 * 384)
    errors_BB = np.abs(products_BB - embeddings_BD @ embeddings_BD.T)
    assert errors_BB.mean() < 0.001
    assert errors_BB.max() < 0.02  # of a vector with itself, if a component is beyond four standard deviations
