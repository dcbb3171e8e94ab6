"""Tallies of one input add up, and keep the first example of each loss."""

from __future__ import annotations

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from state.tally import Tally

tallies = st.builds(
    Tally,
    rows=st.integers(0, 9),
    dead=st.integers(0, 2),
    reason=st.text(max_size=3),
    letter=st.text(max_size=3),
    lost_ids=st.integers(0, 2),
    lost_id=st.text(max_size=3),
    replaced=st.integers(0, 2),
    replaced_id=st.text(max_size=3),
    replaced_input=st.text(max_size=3),
)


def first(tallies: list[Tally], count: str, example: str) -> str:
    """The example of the first tally that counted something, or of the last."""
    return next((getattr(tally, example) for tally in tallies if getattr(tally, count)), getattr(tallies[-1], example))


@given(st.lists(tallies, min_size=1, max_size=5))
def test_counts_are_sums_and_examples_are_the_first(parts: list[Tally]) -> None:
    def add(total: Tally, part: Tally) -> Tally:
        total.add(part)
        return total

    total = reduce(add, parts, Tally())

    for count in ("rows", "dead", "lost_ids", "replaced"):
        assert getattr(total, count) == sum(getattr(part, count) for part in parts)
    assert total.reason == first(parts, "dead", "reason")
    assert total.letter == first(parts, "dead", "letter")
    assert total.lost_id == first(parts, "lost_ids", "lost_id")
    assert total.replaced_id == first(parts, "replaced", "replaced_id")
    assert total.replaced_input == first(parts, "replaced", "replaced_input")
