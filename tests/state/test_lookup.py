"""Facts that stand for a range of numbers: the last at or before a key, committed or in the open epoch."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from state.epoch import Epoch
from state.lookup import at_or_before
from state.store import Store


def key(number: int) -> bytes:
    return number.to_bytes(8, "big")


def test_it_is_the_greatest_key_not_above(tmp_path: Path) -> None:
    store = Store(tmp_path)
    number = iter(range(1, 1000))
    known: dict[int, bytes] = {}

    @given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)), st.integers(0, 60))
    def check(to_commit: set[int], to_open: set[int], wanted: int) -> None:
        committed, opened = Epoch(number=next(number), identity=""), Epoch(number=0, identity="")
        for first in to_commit:
            known[first] = b"committed %d" % committed.number
            committed.put("assignments", key(first), known[first])
        store.apply(committed.changes())
        both = known | dict.fromkeys(to_open, b"open")
        for first in to_open:
            opened.put("assignments", key(first), b"open")

        found = at_or_before(store, opened, "assignments", key(wanted))

        expected = max((first for first in both if first <= wanted), default=None)
        assert found == (None if expected is None else (key(expected), both[expected]))

    check()
    store.close()
