"""Assignments: the cluster of every document that a tick took, found by the document's number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from state.assignments import Assignments
from state.epoch import Epoch
from state.store import Store


def test_every_document_of_a_tick_is_found_and_no_other(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assignments = Assignments(store)
    first = 0

    @given(st.lists(st.lists(st.booleans(), min_size=1, max_size=8), min_size=1, max_size=5), st.integers(0, 5))
    def check(ticks: list[list[bool]], num_committed: int) -> None:
        """Each tick as the consecutive documents that were accepted, or not; the first ticks are committed."""
        nonlocal first
        epoch = Epoch(number=1, identity="")
        expected: dict[int, int | None] = {}
        for number, accepted in enumerate(ticks):
            doc_nos_B = first + np.flatnonzero(accepted)
            expected.update(dict.fromkeys(range(first, first + len(accepted))))
            expected.update({int(doc_no): int(doc_no) % 7 for doc_no in doc_nos_B})
            if len(doc_nos_B):
                assignments.put(doc_nos_B, (doc_nos_B % 7).astype(np.int32), epoch)
            first += len(accepted)
            if number + 1 == num_committed:
                store.apply(epoch.changes())
                epoch = Epoch(number=2, identity="")

        assert {doc_no: assignments.find(doc_no, epoch) for doc_no in expected} == expected

    check()
    store.close()
