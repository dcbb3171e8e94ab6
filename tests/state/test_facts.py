"""Kinds of facts: their keys and values as bytes, apart from others of their family, committed or opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.epoch import Epoch
from state.facts import (
    DECIMAL,
    NUMBER,
    NUMBERS,
    RAW,
    SIGNED,
    TEXT,
    Codec,
    Facts,
    Family,
    declared_families,
    packed,
    single,
)
from state.store import Store

FAMILY = Family("test", "a list of numbers, or their sum")
LISTS = Facts(FAMILY, TEXT, packed(list[int]), prefix=b"l")
SUMS = Facts(FAMILY, TEXT, DECIMAL, prefix=b"s")
RANGES = Facts(FAMILY, NUMBER, RAW, prefix=b"r")
COUNT = single("test count", DECIMAL)


def test_it_is_the_greatest_key_not_above(tmp_path: Path) -> None:
    store = Store(tmp_path)
    number = iter(range(1, 1000))
    known: dict[int, bytes] = {}

    some = st.sets(st.integers(0, 60))

    @given(some, some, some, st.booleans(), st.integers(0, 60))
    def check(to_commit: set[int], under_way: set[int], to_open: set[int], is_written: bool, wanted: int) -> None:
        committed, opened = Epoch(number=next(number), identity=""), Epoch(number=0, identity="")
        LISTS.put(committed, "of another kind, and before all ranges", [])
        for first in to_commit:
            known[first] = b"committed %d" % committed.number
            RANGES.put(committed, first, known[first])
        store.apply(committed.changes())
        preceding = Epoch(number=next(number), identity="")
        unwritten = dict.fromkeys(under_way, b"under way %d" % preceding.number)
        for first, value in unwritten.items():
            RANGES.put(preceding, first, value)
        opened.preceding = preceding.facts
        if is_written:  # its commit has come that far already
            store.apply(preceding.changes())
            known.update(unwritten)
        unwritten |= dict.fromkeys(to_open, b"open")
        both = known | unwritten
        for first in to_open:
            RANGES.put(opened, first, b"open")

        found = RANGES.at_or_before(store, opened, wanted)

        expected = max((first for first in both if first <= wanted), default=None)
        assert RANGES.opened(opened, wanted) == unwritten.get(wanted)
        assert found == (None if expected is None else (expected, both[expected]))

    check()
    store.close()


@pytest.mark.parametrize(
    ("codec", "values"),
    [
        (NUMBER, [0, 1, 255, 256, (1 << 64) - 1]),
        (SIGNED, [-(1 << 63), -1, 0, 1, (1 << 63) - 1]),
        (NUMBERS, [(0, 9), (1, 0), (1, 2), (256, 1)]),
        (RAW, [b"", b"\0", b"a", b"b"]),
        (TEXT, ["", "a", "ab", "b", "ä", "\ud800"]),
    ],
)
def test_keys_come_back_and_are_sorted_as_their_bytes(codec: Codec[object], values: list[object]) -> None:
    rows = [codec.encode(value) for value in values]
    assert [codec.decode(row) for row in rows] == values
    assert sorted(rows) == rows


def test_the_store_keeps_kinds_of_one_family_apart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    epoch = Epoch(number=1, identity="")
    LISTS.put(epoch, "a", [1])
    SUMS.put(epoch, "b", 2)
    COUNT.put(epoch, None, 3)
    store.apply(epoch.changes())
    assert list(LISTS.items(store)) == [("a", [1])]
    assert list(SUMS.keys(store)) == ["b"]
    assert (COUNT.get(store, None), SUMS.get(store, "a")) == (3, None)
    LISTS.delete(epoch, "a")
    store.apply(epoch.changes())
    assert list(LISTS.items(store)) == []
    assert "test" in store.families()
    store.close()


def test_a_family_has_one_sentence() -> None:
    assert declared_families()["test"] == FAMILY
    assert Family("test", FAMILY.sentence) == FAMILY
    with pytest.raises(ValueError, match="two families are called test"):
        Family("test", "something else")
