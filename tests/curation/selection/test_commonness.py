"""The counts of n-grams come back to the last bit from pages and from what grew since, and are bounded."""

from __future__ import annotations

import numpy as np
import pytest

from curation.selection import commonness
from curation.selection.commonness import Sketch
from state.fact_table import FactOwner, Table
from tests.kept import Kept, changes_of

NUM_BYTES = 1 << 20


class Owner(FactOwner):
    def __init__(self, num_bytes: int = NUM_BYTES) -> None:
        self.sketch = Sketch(num_bytes)

    def tables(self) -> tuple[Table, ...]:
        return (self.sketch,)


def take(owner: Owner, rng: np.random.Generator, num_documents: int) -> np.ndarray:
    tokens = [rng.integers(0, 5000, rng.integers(0, 300)).astype(np.uint16) for _ in range(num_documents)]
    return owner.sketch.measure_and_count(tokens, rng.integers(0, 2**63, num_documents).astype(np.uint64))


@pytest.mark.parametrize("log_bytes", [1 << 30, 30_000])
def test_a_restart_anywhere_changes_nothing(log_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commonness, "MAX_GROWN_BYTES", log_bytes)
    monkeypatch.setattr(commonness, "FULL_SHARE", 0.05)
    one, again, kept = Owner(), Owner(), Kept()
    rngs = np.random.default_rng(1), np.random.default_rng(1)
    for number in range(12):
        nats = [take(owner, rng, 40) for owner, rng in zip((one, again), rngs, strict=True)]
        assert np.array_equal(nats[0], nats[1], equal_nan=True)
        kept.apply(changes_of(again))
        assert one.sketch.num_tokens == again.sketch.num_tokens
        assert one.sketch.num_seen == again.sketch.num_seen
        assert (one.sketch.counts_C == again.sketch.counts_C).all()
        if number % 3 == 2:
            again = Owner()
            again.sketch.load(kept)
            assert (one.sketch.counts_C == again.sketch.counts_C).all()
    assert one.sketch.num_seen > 60_000 > one.sketch.num_tokens
    assert np.count_nonzero(one.sketch.counts_C) <= 0.05 * NUM_BYTES  # it was halved on the way


def test_what_did_not_change_is_no_change() -> None:
    owner = Owner()
    assert changes_of(owner) == []
    take(owner, np.random.default_rng(0), 3)
    assert changes_of(owner)
    assert changes_of(owner) == []
    owner.sketch.measure_and_count([np.zeros(0, np.uint32)], np.zeros(1, np.uint64))
    owner.sketch.measure_and_count([], np.zeros(0, np.uint64))
    assert changes_of(owner) == []


def test_a_sketch_of_another_size_begins_anew_and_leaves_nothing_of_the_old() -> None:
    kept, small = Kept(), Owner()
    take(small, np.random.default_rng(0), 50)
    kept.apply(changes_of(small))
    large = Owner(2 * NUM_BYTES)
    large.sketch.load(kept)
    assert not large.sketch.num_tokens + large.sketch.num_seen
    assert not large.sketch.counts_C.any()
    take(large, np.random.default_rng(5), 50)
    kept.apply(changes_of(large))
    again = Owner(2 * NUM_BYTES)
    again.sketch.load(kept)
    assert (again.sketch.counts_C == large.sketch.counts_C).all()
