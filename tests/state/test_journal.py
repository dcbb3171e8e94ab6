"""The journal: the facts of an epoch through parts that every broker takes, and back."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curatord.errors import JournalUnusable
from state.journal import (
    PART_BYTES,
    Artifact,
    JournalledChange,
    apply_journalled,
    decode_changes,
    encode_changes,
    journal_position,
    resolved,
)
from state.store import Store

values = st.none() | st.binary(max_size=30) | st.builds(Artifact, st.tuples(st.integers(0, 9)), st.binary(max_size=16))
changes = st.lists(st.tuples(st.sampled_from(["meta", "held", "documents"]), st.binary(max_size=9), values))


@given(changes)
def test_changes_come_back_in_their_order(changes: list[JournalledChange]) -> None:
    assert decode_changes(encode_changes(changes)) == changes


def test_a_large_epoch_is_cut_into_parts_below_the_limit() -> None:
    noise = random.Random(0).randbytes(2 * PART_BYTES + 1)  # nothing to compress
    large: list[JournalledChange] = [("held", b"k", noise)]

    parts = encode_changes(large)

    assert [len(part) for part in parts[:2]] == [PART_BYTES, PART_BYTES]
    assert 0 < len(parts[2]) < PART_BYTES
    assert decode_changes(parts) == large


@pytest.mark.parametrize("damage", ["cut", "changed", "swapped", "not ours"])
def test_damaged_parts_are_refused(damage: str) -> None:
    noise = random.Random(1).randbytes(PART_BYTES + 1000)
    parts = encode_changes([("held", b"k", noise)])
    damaged = {
        "cut": parts[:1],
        "changed": [bytes([parts[0][0] ^ 1]) + parts[0][1:], parts[1]],
        "swapped": parts[::-1],
        "not ours": [b"{}"],
    }[damage]

    with pytest.raises(JournalUnusable, match="a record of the journal cannot be read"):
        decode_changes(damaged)


def test_artifacts_are_fetched_where_they_stand() -> None:
    artifact = Artifact((3, 4), b"digest")

    assert resolved([("embedding", b"a", artifact), ("meta", b"b", None)], lambda named: bytes(named.offsets)) == (
        ("embedding", b"a", bytes([3, 4])),
        ("meta", b"b", None),
    )


def test_the_store_knows_where_the_journal_goes_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert journal_position(store) == 0

    apply_journalled(store, [("guard", b"k", b"v")], 17)
    apply_journalled(store, [("guard", b"k", None)], 23)

    assert journal_position(store) == 23
    assert store.get("guard", b"k") is None
    store.close()
