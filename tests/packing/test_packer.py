"""The packer: no document that fits is cut, no token lost, and nothing depends on calls, commits or restarts."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curatord.errors import IdentityError
from packing.packer import Packer
from packing.packing_config import PackingConfig
from packing.pieces import PIECES, lengths
from state.document_numbers import numbers_from
from tests.kept import Kept, changes_of
from tests.packing.streams import Row, Stream, add, flush, pack_all, pieces_of, zipf_topics

Mode = Literal["sculpt", "best_fit"]
MODES: list[Mode] = ["sculpt", "best_fit"]


def config(mode: Mode = "sculpt", **changes: int) -> PackingConfig:
    standard = {"context_length": 1024, "pool_documents": 60, "shuffle_block_rows": 16}
    return PackingConfig(mode=mode, **(standard | changes))


def stream_of(num_documents: int = 700) -> Stream:
    return zipf_topics(num_documents, num_clusters=20, max_tokens=5000)


def check_whole(rows: list[Row], stream: Stream, context_length: int) -> None:
    """Each document is there once, from its first token to its last; only long ones are in pieces."""
    pieces = [piece for row in rows for piece in row.pieces]
    assert [row.seq_no for row in rows] == list(range(len(rows)))
    for row in rows:
        assert 0 < row.num_tokens() <= context_length
    by_document: dict[int, list[tuple[int, int]]] = {}
    for piece in pieces:
        by_document.setdefault(piece.doc_no, []).append((piece.start, piece.end))
        assert piece.num_tokens == stream.lengths_B[piece.doc_no]
    for doc_no, spans in by_document.items():
        num_tokens = int(stream.lengths_B[doc_no])
        expected = [(s, min(s + context_length, num_tokens)) for s in range(0, num_tokens, context_length)]
        assert sorted(spans) == expected
    assert len(by_document) == len(stream.lengths_B)


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 3000), min_size=1, max_size=200), pool_documents=st.integers(1, 40))
def test_no_token_is_lost_and_no_document_that_fits_is_cut(mode: Mode, lengths: list[int], pool_documents: int) -> None:
    stream = Stream(np.array(lengths, np.int64), zipf_topics(len(lengths)).embeddings_BD)
    packer = Packer(config(mode, context_length=512, pool_documents=pool_documents), dimension=64)
    rows = pack_all(packer, stream, documents_per_call=33)
    check_whole(rows, stream, 512)
    stats = packer.stats
    assert packer.held_tokens() == 0
    assert stats.tokens == sum(lengths)
    assert stats.tokens + stats.padding_tokens + stats.padding_tokens_flushed == stats.rows * 512
    assert stats.documents_cut == 0
    assert stats.documents_split == sum(length > 512 for length in lengths)


@pytest.mark.parametrize("mode", MODES)
def test_rows_do_not_depend_on_how_calls_divide_the_documents(mode: Mode) -> None:
    stream = stream_of()
    packers = [Packer(config(mode), dimension=64) for _ in range(4)]
    rows = [
        pack_all(packer, stream, documents_per_call=cut) for packer, cut in zip(packers, (700, 1, 7, 512), strict=True)
    ]
    assert len(rows[0]) > 100
    assert rows[1] == rows[2] == rows[3] == rows[0]
    assert packers[1].stats == packers[2].stats == packers[3].stats == packers[0].stats


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stop", [1, 4, 9, 13])
def test_a_restored_packer_goes_on_exactly(mode: Mode, stop: int) -> None:
    stream = stream_of()
    settings = config(mode, batch_quantum=3)
    straight, first = Packer(settings, dimension=64), Packer(settings, dimension=64)
    kept = Kept()
    for tick in range(stop):
        assert add(straight, stream, tick * 50, tick * 50 + 50) == add(first, stream, tick * 50, tick * 50 + 50)
        if tick == 2:
            removed = [pieces_of(straight.remove(doc_no)) for doc_no in range(100, 150, 3)]
            assert removed == [pieces_of(first.remove(doc_no)) for doc_no in range(100, 150, 3)]
            assert any(removed)
        changes_of(straight)
        kept.commit(first)
    restored = Packer(settings, dimension=64)
    kept.restore(restored)
    restored.restore_embeddings(stream.embed)
    assert restored.held_tokens() == straight.held_tokens()
    assert restored.stats == straight.stats
    for tick in range(stop, 14):
        assert add(straight, stream, tick * 50, tick * 50 + 50) == add(restored, stream, tick * 50, tick * 50 + 50)
        assert changes_of(straight) == changes_of(restored)
    assert flush(straight) == flush(restored)
    assert changes_of(straight) == changes_of(restored)
    assert straight.stats == restored.stats


def test_a_restored_pool_has_the_cells_of_its_last_division() -> None:
    stream = stream_of()
    assert stream.centres_KD is not None
    settings = config(pool_documents=150)
    straight, first, kept = Packer(settings, dimension=64), Packer(settings, dimension=64), Kept()
    for tick in range(8):
        for packer in (straight, first):
            if tick in (0, 3, 6):
                packer.divide(stream.centres_KD[tick : tick + 9])
            add(packer, stream, tick * 50, tick * 50 + 50)
        changes_of(straight)
        kept.commit(first)
    restored = Packer(settings)
    kept.restore(restored)
    restored.restore_embeddings(stream.embed)
    assert not restored.is_division_due
    assert add(straight, stream, 400, 700) + flush(straight) == add(restored, stream, 400, 700) + flush(restored)
    assert changes_of(straight) == changes_of(restored)


def test_a_process_that_has_all_commits_takes_over_exactly() -> None:
    stream = stream_of()
    owner, standby, kept = Packer(config(), dimension=64), Packer(config(), dimension=64), Kept()
    for tick in range(10):
        add(owner, stream, tick * 50, tick * 50 + 50)
        kept.commit(owner)
    kept.restore(standby)
    standby.restore_embeddings(stream.embed)
    assert add(owner, stream, 500, 700) + flush(owner) == add(standby, stream, 500, 700) + flush(standby)


def test_a_commit_holds_only_what_changed() -> None:
    stream = stream_of()
    packer = Packer(config(shuffle_block_rows=1), dimension=64)
    kept = Kept()
    for tick in range(14):
        add(packer, stream, tick * 50, tick * 50 + 50)
        changes = kept.commit(packer)  # which fails where something is removed that no earlier commit wrote
        keys = [(family, key) for family, key, _ in changes]
        assert len(set(keys)) == len(keys)
        assert sum(value is not None for _, value in PIECES.changed(changes)) <= 60
    flush(packer)
    kept.commit(packer)
    assert kept.commit(packer) == []


def test_state_is_small() -> None:
    stream = zipf_topics(5000)
    packer = Packer(PackingConfig(), dimension=64)
    add(packer, stream, 0, 5000)
    kept = Kept()
    kept.commit(packer)
    held = len(list(PIECES.keys(kept)))
    assert sum(len(key) + len(value) for key, value in kept.items("packing")) / held < 50  # apart from the cells


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("num_added", [30, 200, 700])
def test_a_retracted_document_leaves_wherever_it_is(mode: Mode, num_added: int) -> None:
    stream = stream_of()
    packer = Packer(config(mode), dimension=64)
    rows = add(packer, stream, 0, num_added)
    gone = {piece.doc_no for row in rows for piece in row.pieces}
    for doc_no in range(0, num_added, 3):
        held = packer.held_tokens()
        num_tokens = int(lengths(packer.remove(doc_no)).sum())
        assert packer.held_tokens() == held - num_tokens
        assert doc_no in gone or num_tokens == stream.lengths_B[doc_no]
        assert not len(packer.remove(doc_no))
    rows = flush(packer)
    assert not {piece.doc_no for row in rows for piece in row.pieces} & set(range(0, num_added, 3))
    stats = packer.stats
    assert stats.tokens + stats.padding_tokens + stats.padding_tokens_flushed == stats.rows * 1024
    assert packer.held_tokens() == 0


def test_room_of_a_retracted_piece_is_filled_again() -> None:
    stream = Stream(np.array([600, 300, 200, 500, 100], np.int64), zipf_topics(5).embeddings_BD)
    packer = Packer(config(pool_documents=1, shuffle_block_rows=1), dimension=64)
    add(packer, stream, 0, 3)
    assert len(packer.remove(1)) == 1
    rows = add(packer, stream, 3, 5) + flush(packer)
    assert sorted(tuple(piece.doc_no for piece in row.pieces) for row in rows) == [(0, 2, 4), (3,)]


def test_new_embeddings_for_what_is_held_change_nothing_if_they_are_the_same() -> None:
    stream = stream_of()
    plain, renewed = Packer(config(), dimension=64), Packer(config(), dimension=64)
    assert add(plain, stream, 0, 333) == add(renewed, stream, 0, 333)
    renewed.restore_embeddings(stream.embed)
    assert add(plain, stream, 333, 700) + flush(plain) == add(renewed, stream, 333, 700) + flush(renewed)


@pytest.mark.parametrize(("before", "after"), [("sculpt", "best_fit"), ("best_fit", "sculpt")])
def test_the_mode_may_change_at_a_restart(before: Mode, after: Mode) -> None:
    stream = stream_of()
    first = Packer(config(before), dimension=64)
    rows = add(first, stream, 0, 400)
    second = Packer(config(after), dimension=64)
    kept = Kept()
    kept.commit(first)
    kept.restore(second)
    second.restore_embeddings(stream.embed)
    rows += add(second, stream, 400, 700) + flush(second)
    check_whole(rows, stream, 1024)


def test_the_pool_may_shrink_at_a_restart() -> None:
    stream = stream_of()
    first = Packer(config(), dimension=64)
    rows = add(first, stream, 0, 400)
    second = Packer(config(pool_documents=10), dimension=64)
    kept = Kept()
    kept.commit(first)
    kept.restore(second)
    second.restore_embeddings(stream.embed)
    rows += add(second, stream, 400, 700) + flush(second)
    check_whole(rows, stream, 1024)


def test_another_context_length_begins_a_generation_when_nothing_is_held() -> None:
    stream = stream_of()
    first = Packer(config(), dimension=64)
    add(first, stream, 0, 100)
    kept = Kept()
    kept.commit(first)
    refused = Packer(config(context_length=2048), dimension=64)
    kept.restore(refused)
    with pytest.raises(IdentityError, match="was 1024 and is now 2048"):
        refused.restore_embeddings(stream.embed)
    flush(first)
    second = Packer(config(context_length=2048), dimension=64)
    kept.commit(first)
    kept.restore(second)
    second.restore_embeddings(stream.embed)
    assert flush(second, fill=True) == []
    assert second.generation == 0  # until there is a row
    assert second.num_given_out == first.num_given_out
    rows = add(second, stream, 100, 700) + flush(second)
    assert {row.generation for row in rows} == {1}
    assert [row.seq_no for row in rows] == list(range(len(rows)))
    assert [made.context_length for made in second.generations] == [1024, 2048]
    assert [made.sequences for made in second.generations] == [first.num_given_out, len(rows)]


def test_rows_that_retractions_left_empty_are_held_too() -> None:
    stream = stream_of()
    first = Packer(config(batch_quantum=1000), dimension=64)
    add(first, stream, 0, 100)
    flush(first)
    for doc_no in range(100):
        first.remove(doc_no)
    assert not len(first.held_pieces())
    second = Packer(config(batch_quantum=1000, context_length=2048), dimension=64)
    kept = Kept()
    kept.commit(first)
    kept.restore(second)

    with pytest.raises(IdentityError, match="rows of the old length wait"):
        second.restore_embeddings(stream.embed)


def test_pieces_carry_what_the_trainer_reports_back() -> None:
    stream = Stream(np.array([2500, 10], np.int64), zipf_topics(2).embeddings_BD)
    packer = Packer(config(), dimension=64)
    pieces = [piece for row in pack_all(packer, stream) for piece in row.pieces if piece.doc_no == 0]
    assert sorted((piece.start, piece.end) for piece in pieces) == [(0, 1024), (1024, 2048), (2048, 2500)]
    assert {(piece.num_tokens, *numbers_from([piece.numbers])[0].item()[:4], piece.use) for piece in pieces} == {
        (2500, 0, 0, 1.0, 0.5, 0)
    }


def test_documents_without_vectors_are_packed_by_length_alone() -> None:
    stream = stream_of()
    lengths_only = Stream(stream.lengths_B, np.zeros((700, 0), np.float32))
    packer = Packer(config(), dimension=0)
    check_whole(pack_all(packer, lengths_only), stream, 1024)
    assert packer.stats.coherence == 0.0


def test_what_cannot_be_packed_is_refused() -> None:
    packer = Packer(config(), dimension=64)
    with pytest.raises(ValueError, match="without tokens"):
        add(packer, Stream(np.array([5, 0], np.int64), np.zeros((2, 64), np.float32)), 0, 2)
    with pytest.raises(ValueError, match=r"not \(1, 64\)"):
        add(packer, Stream(np.array([5], np.int64), np.zeros((1, 32), np.float32)), 0, 1)


@pytest.mark.parametrize("num_documents", [20, 200, 700])
@pytest.mark.parametrize("seed", range(3))
def test_a_small_corpus_takes_at_most_one_row_more_than_its_tokens_fill(num_documents: int, seed: int) -> None:
    stream = zipf_topics(num_documents, seed=seed)
    packer = Packer(PackingConfig(context_length=4096), dimension=stream.embeddings_BD.shape[1])

    pack_all(packer, stream)

    assert packer.stats.rows <= -(-int(stream.lengths_B.sum()) // 4096) + 1
