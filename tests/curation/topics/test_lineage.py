"""Lineage: every id that there ever was leads to a present cluster."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from curation.topics.lineage import Lineage


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_merges_in_any_order_lead_to_the_last_winner(picks: list[tuple[int, int]]) -> None:
    lineage = Lineage()
    expected = {cluster: cluster for cluster in range(10)}
    for tick, (one, other) in enumerate(picks):
        alive = sorted(set(expected.values()))
        winner, loser = alive[one % len(alive)], alive[other % len(alive)]
        if winner == loser:
            continue
        lineage.merged(tick=tick, winner=winner, loser=loser)
        expected = {cluster: winner if now == loser else now for cluster, now in expected.items()}
        assert lineage.successor(loser) == winner

    assert {cluster: lineage.successor(cluster) for cluster in range(10)} == expected


def test_events_are_told_once_and_in_order() -> None:
    lineage = Lineage()
    lineage.founded(tick=1, nearest=0, new=4)
    lineage.split(tick=1, parent=4, new=5)
    first = lineage.take()
    lineage.merged(tick=2, winner=0, loser=5)

    assert [(event.kind, event.parents, event.children) for event in first] == [
        ("founded", (0,), (4,)),
        ("split", (4,), (4, 5)),
    ]
    assert [event.kind for event in lineage.take()] == ["merged"]
    assert lineage.take() == []
    assert [lineage.successor(cluster) for cluster in (0, 4, 5)] == [0, 4, 0]
