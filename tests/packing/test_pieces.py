"""Held pieces: a table of columns that behaves as a dict would, whose changes are its facts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from packing.pieces import PIECE, PIECES, HeldPieces, Pieces, cut, lengths
from state.fact_table import FactOwner
from tests.kept import Kept
from tests.packing.streams import pieces_of


class Owner(FactOwner):
    """An owner of the table alone."""

    def __init__(self) -> None:
        self.held = HeldPieces(8)

    def tables(self) -> tuple[HeldPieces, ...]:
        return (self.held,)


def pieces_from(first: int, count: int) -> Pieces:
    pieces_N = np.zeros(count, PIECE)
    numbers_N = np.arange(first, first + count)
    pieces_N["arrival"] = np.where(numbers_N % 3 == 0, -1, numbers_N)
    pieces_N["doc_no"], pieces_N["end"], pieces_N["num_tokens"] = numbers_N // 2, 1 + numbers_N % 5, 5
    pieces_N["numbers"]["cluster"] = numbers_N % 7
    return pieces_N


def test_documents_are_cut_at_the_context_length() -> None:
    documents_N, pieces_N = cut(np.array([10, 25, 20, 1]), 10)
    assert documents_N.tolist() == [0, 1, 1, 1, 2, 2, 3]
    assert list(zip(pieces_N["start"].tolist(), pieces_N["end"].tolist(), strict=True)) == [
        *((0, 10), (0, 10), (10, 20), (20, 25)),
        *((0, 10), (10, 20), (0, 1)),
    ]
    assert lengths(pieces_N).tolist() == [10, 10, 10, 5, 10, 10, 1]


@given(st.data())
def test_any_history_leaves_what_a_dict_would_have(data: st.DataObject) -> None:
    owner, kept, next_number = Owner(), Kept(), 0
    expected: dict[int, tuple[int, list[int]]] = {}  # number -> document, vector
    for _ in range(data.draw(st.integers(1, 12))):
        action = data.draw(st.sampled_from(["add", "take", "remove", "commit"]))
        if action == "add":
            count = data.draw(st.sampled_from([1, 3, 700]))
            pieces_N = pieces_from(next_number, count)
            vectors_ND = np.random.default_rng(next_number).integers(-127, 128, (count, 8)).astype(np.int8)
            owner.held.add(np.arange(next_number, next_number + count), pieces_N, vectors_ND)
            for place in range(count):
                expected[next_number + place] = int(pieces_N["doc_no"][place]), vectors_ND[place].tolist()
            next_number += count
        elif action == "commit":
            kept.commit(owner)  # which fails where something is removed that no earlier commit wrote
        elif expected:
            gone = data.draw(st.lists(st.sampled_from(sorted(expected)), unique=True, max_size=300))
            if action == "remove":
                document = expected[gone[0]][0] if gone else -1
                gone = owner.held.of_document(document).tolist()
                assert gone == [number for number in expected if expected[number][0] == document]
            waited_N = owner.held.close(np.array(gone, np.int64))
            assert waited_N.tolist() == [number % 3 != 0 for number in gone]
            assert not owner.held.close(np.array(gone, np.int64)).any()
            taken_N = owner.held.take(np.array(gone, np.int64))
            assert taken_N["doc_no"].tolist() == [expected.pop(number)[0] for number in gone]

    numbers_N, pieces_N = owner.held.held()
    assert len(owner.held) == len(expected)
    assert numbers_N.tolist() == list(expected)
    waiting_N = owner.held.waiting()
    assert waiting_N.tolist() == [number for number in expected if number % 3]
    assert owner.held.vectors(waiting_N).tolist() == [expected[number][1] for number in waiting_N.tolist()]
    kept.commit(owner)
    restored = Owner()
    kept.restore(restored)
    assert [piece for _, piece in PIECES.items(kept)] == pieces_of(pieces_N)
    assert np.array_equal(restored.held.held()[1], pieces_N)
    assert not len(restored.held.waiting())
    assert kept.commit(restored) == []


def test_a_piece_that_left_is_not_taken_for_another() -> None:
    held = HeldPieces(8)
    held.add(np.array([2, 3, 7]), pieces_from(2, 3), np.zeros((3, 8), np.int8))
    held.take(np.array([3]))
    for number in (1, 3, 4, 8):
        with pytest.raises(KeyError):
            held.pieces(np.array([2, number]))
