"""Safe points: the last word of a run counts, also over restarts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from curatord.records import SafePoint
from state.safe_points import MAX_RUNS, SafePoints, read_safe_points
from tests.kept import Kept

points = st.builds(
    SafePoint,
    run_id=st.sampled_from(["a", "b", "c", "\ud800", "ä"]),
    generation=st.integers(0, 1),
    safe_seq_no=st.integers(-1, 5),
)


def restored(kept: Kept) -> SafePoints:
    found = SafePoints()
    kept.restore(found)
    return found


@given(st.lists(st.tuples(points, st.sampled_from(["", "commit", "restart"])), max_size=20))
def test_what_a_run_said_last_counts_and_the_oldest_of_a_generation_is_found(
    steps: list[tuple[SafePoint, str]],
) -> None:
    expected: dict[str, SafePoint] = {}
    kept, found = Kept(), SafePoints()
    for point, then in [*steps, (SafePoint(run_id="last", generation=2, safe_seq_no=9), "restart")]:
        found.take(point)
        expected[point.run_id] = point
        if then:
            kept.commit(found)
        if then == "restart":
            found = restored(kept)
    running = [point for point in expected.values() if point.safe_seq_no >= 0]
    assert len(read_safe_points(kept)) == len(running)
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
    kept = Kept()
    kept.commit(found)
    found = restored(kept)

    found.take(SafePoint(run_id="new", generation=0, safe_seq_no=1000))

    assert len(kept.commit(found)) == 2
    points = {point.run_id: point.safe_seq_no for point in read_safe_points(kept)}
    assert "1" not in points
    assert points["new"] == 1000
