"""Safe points: the last word of a run counts, also over restarts."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from curatord.records import SafePoint
from state.safe_points import MAX_RUNS, SafePoints

points = st.builds(
    SafePoint,
    run_id=st.sampled_from(["a", "b", "c", "\ud800", "ä"]),
    generation=st.integers(0, 1),
    safe_seq_no=st.integers(-1, 5),
)


def restored(facts: dict[bytes, bytes]) -> SafePoints:
    found = SafePoints()
    for key, value in facts.items():
        found.apply(key, value)
    return found


@given(st.lists(st.tuples(points, st.sampled_from(["", "commit", "restart"])), max_size=20))
def test_what_a_run_said_last_counts_and_the_oldest_of_a_generation_is_found(
    steps: list[tuple[SafePoint, str]],
) -> None:
    expected: dict[str, SafePoint] = {}
    facts: dict[bytes, bytes] = {}
    found = SafePoints()
    for point, then in [*steps, (SafePoint(run_id="last", generation=2, safe_seq_no=9), "restart")]:
        found.take(point)
        expected[point.run_id] = point
        if then:
            for key, value in found.changes():
                facts.pop(key, None)
                if value is not None:
                    facts[key] = value
        if then == "restart":
            found = restored(facts)
    running = [point for point in expected.values() if point.safe_seq_no >= 0]
    assert len(facts) == len(running)
    for generation in range(3):
        oldest = found.oldest(generation)
        numbers = [point.safe_seq_no for point in running if point.generation == generation]
        assert (None if oldest is None else oldest.safe_seq_no) == min(numbers, default=None)
        assert oldest is None or expected[oldest.run_id] == oldest


def test_the_run_that_was_unheard_for_longest_is_forgotten_after_a_restart_too() -> None:
    found = SafePoints()
    for number in range(MAX_RUNS):
        found.take(SafePoint(run_id=str(number), generation=0, safe_seq_no=number))
    found.take(SafePoint(run_id="0", generation=0, safe_seq_no=0))
    found = restored({key: value for key, value in found.changes() if value is not None})

    found.take(SafePoint(run_id="new", generation=0, safe_seq_no=1000))

    changes = dict(found.changes())
    assert changes[b"1"] is None
    assert msgspec.msgpack.decode(changes[b"new"] or b"")[:2] == [0, 1000]
    assert len(changes) == 2
