"""Held documents."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from curatord.errors import StateError
from kernels.columns import Ragged, bounds_of
from packing.held import HeldDocuments
from packing.places import Places
from packing.sampled import Sampled
from state.epoch import Epoch
from state.fact_table import gather_changes
from tests.kept import Kept


def tokens(doc_no: int, length: int) -> np.ndarray:
    return np.full(length, doc_no % 60_000, np.uint16)


def add(held: HeldDocuments, doc_nos: list[int], lengths: list[int]) -> None:
    values_T = np.concatenate([tokens(*each) for each in zip(doc_nos, lengths, strict=True)])
    held.add(np.array(doc_nos), [f"id {n}" for n in doc_nos], Ragged(values_T, bounds_of(lengths)))


def restored(kept: Kept, held: HeldDocuments, doc_nos: set[int]) -> HeldDocuments:
    again = HeldDocuments()
    kept.restore(again)
    holders = [
        (doc_no, 0 if holder else held[doc_no].unemitted)
        for doc_no in doc_nos
        for holder in range(held[doc_no].holders)
    ]
    again.restore_holders(*np.array(holders, np.int64).reshape(-1, 2).T)
    return again


@given(st.data())
def test_facts_give_back_exactly_what_is_held_after_any_history(data: st.DataObject) -> None:
    held, kept, alive = HeldDocuments(), Kept(), set[int]()
    next_doc_no = 0
    for _ in range(data.draw(st.integers(1, 12))):
        action = data.draw(st.sampled_from(["add", "hold", "let_go", "drop", "sample", "commit"]))
        if action == "add":
            doc_nos = list(range(next_doc_no, next_doc_no + data.draw(st.integers(1, 6))))
            next_doc_no = doc_nos[-1] + 1
            add(held, doc_nos, [1 + n % 4 for n in doc_nos])
            alive |= set(doc_nos)
        elif action == "commit":
            kept.commit(held)
        elif alive:
            doc_no = data.draw(st.sampled_from(sorted(alive)))
            if action == "hold":
                held.hold(np.array([doc_no]), np.array([2]))
            elif action == "let_go":
                held.let_go(np.array([doc_no]))
            elif action == "sample":
                held.sample(doc_no, Sampled(doc_no.to_bytes(12, "big")))
            else:
                held.drop(doc_no)
            alive = {doc_no for doc_no in alive if doc_no in held}
    kept.commit(held)

    again = restored(kept, held, alive)

    assert len(again) == len(alive)
    assert again.unemitted_tokens() == held.unemitted_tokens()
    for doc_no in alive:
        mine, other = held[doc_no], again[doc_no]
        assert (mine.doc_id, mine.holders) == (other.doc_id, other.holders)
        assert held.sampled(doc_no) == again.sampled(doc_no)
        assert mine.tokens.tolist() == other.tokens.tolist()


def test_a_few_documents_that_stay_do_not_pin_those_that_were_accepted_with_them() -> None:
    held, kept = HeldDocuments(), Kept()
    for segment in range(10):
        doc_nos = list(range(segment * 100, segment * 100 + 100))
        add(held, doc_nos, [1000] * len(doc_nos))
        kept.commit(held)
        for doc_no in doc_nos[1:]:
            held.drop(doc_no)
        kept.commit(held)

    assert len(held) == 10
    assert sum(len(value) for _, value in kept.items("held")) < 10 * 2 * 1000 + 2000
    assert all(held[segment * 100].tokens.tolist() == [segment * 100] * 1000 for segment in range(10))


def test_a_document_that_left_is_not_taken_for_another() -> None:
    held = HeldDocuments()
    add(held, [3, 5, 9], [1, 2, 3])
    held.drop(5)
    for doc_no in (2, 4, 5, 10):
        with pytest.raises(KeyError):
            held.tokens(np.array([3, doc_no]))


class Topic:
    """Prepared messages of documents whose tokens are `tokens`."""

    def __init__(self) -> None:
        self.messages: dict[int, list[tuple[int, int]]] = {}  # by offset: number and length of each document

    def read(self, source: str, offset: int, rows_B: NDArray[np.int64]) -> tuple[list[str], Ragged[np.generic]]:
        if offset not in self.messages:
            raise StateError(f"{source}@{offset} is gone")
        documents = [self.messages[offset][row] for row in rows_B.tolist()]
        values_T = np.concatenate([tokens(*each) for each in documents])
        return [f"id {n}" for n, _ in documents], Ragged(values_T, bounds_of([length for _, length in documents]))


@given(st.data())
def test_the_journal_gives_back_what_is_held_as_long_as_its_messages_are_there(data: st.DataObject) -> None:
    held, journal, disk, topic, alive, pinned = HeldDocuments(), Kept(), Kept(), Topic(), set[int](), 0
    next_doc_no = 0

    def commit() -> None:
        epoch = Epoch(number=1, identity="{}")
        gather_changes((held,), epoch)
        journal.apply(list(epoch.journal_changes()))
        disk.apply(list(epoch.changes()))

    for offset in range(data.draw(st.integers(1, 12))):
        doc_nos = list(range(next_doc_no, next_doc_no + data.draw(st.integers(1, 6))))
        next_doc_no = doc_nos[-1] + 1
        lengths = [1 + n % 4 for n in doc_nos]
        places = None
        if data.draw(st.booleans()):
            places = Places.in_message("prepared-0", offset, np.arange(len(doc_nos)))
            topic.messages[offset] = list(zip(doc_nos, lengths, strict=True))
        values_T = np.concatenate([tokens(*each) for each in zip(doc_nos, lengths, strict=True)])
        held.add(np.array(doc_nos), [f"id {n}" for n in doc_nos], Ragged(values_T, bounds_of(lengths)), places)
        alive |= set(doc_nos)
        if data.draw(st.booleans()):
            pinned = data.draw(st.integers(pinned, offset))
            held.pin({"prepared-0": pinned})
        if data.draw(st.booleans()):
            commit()
        for doc_no in data.draw(st.lists(st.sampled_from(sorted(alive)), unique=True)) if alive else []:
            held.drop(doc_no)
            alive.discard(doc_no)
    commit()
    needed = held.oldest_places().get("prepared-0", len(topic.messages) + 100)
    assert needed >= pinned
    topic.messages = {offset: documents for offset, documents in topic.messages.items() if offset >= needed}

    on_same_disk, again = HeldDocuments(), HeldDocuments()
    again.read_placed = topic.read
    for kept, restarted in ((disk, on_same_disk), (journal, again)):
        kept.restore(restarted)
        restarted.restore_holders(np.array(sorted(alive), np.int64), np.zeros(len(alive), np.int64))

        assert sorted(restarted.numbers()) == sorted(alive)
        assert all(restarted[doc_no].tokens.tolist() == held[doc_no].tokens.tolist() for doc_no in alive)
        assert restarted.oldest_places() == held.oldest_places()


def test_a_message_that_is_gone_or_another_is_refused() -> None:
    held, journal, topic = HeldDocuments(), Kept(), Topic()
    topic.messages[5] = [(0, 2), (1, 3)]
    add_at = Places.in_message("prepared-0", 5, np.arange(2))
    both = Ragged(np.repeat([0, 1], [2, 3]).astype(np.uint16), bounds_of([2, 3]))
    held.add(np.arange(2), ["id 0", "id 1"], both, add_at)
    epoch = Epoch(number=1, identity="{}")
    gather_changes((held,), epoch)
    journal.apply(list(epoch.journal_changes()))
    for documents, why in (([], "is gone"), ([(7, 2), (1, 3)], "holds other")):
        topic.messages = {5: documents} if documents else {}
        again = HeldDocuments()
        again.read_placed = topic.read
        journal.restore(again)
        with pytest.raises(StateError, match=why):
            again.restore_holders(np.arange(2), np.zeros(2, np.int64))
