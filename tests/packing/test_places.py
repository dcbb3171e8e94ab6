"""Places of documents, joined and taken."""

from __future__ import annotations

import numpy as np

from packing.places import Places, join_places


def in_message(source: str, offset: int, rows: list[int]) -> Places:
    return Places.in_message(source, offset, np.array(rows))


def test_joined_places_are_those_of_their_parts_of_any_sources() -> None:
    parts = [in_message("p-0", 7, [1, 2]), in_message("p-1", 3, [5]), in_message("p-0", 9, [0])]
    joined = join_places([parts[0], join_places(parts[1:]), parts[0].take(np.array([1]))])
    assert joined is not None
    found = [(joined.sources[source], offset, row) for source, offset, row in joined.places_B.tolist()]
    assert found == [("p-0", 7, 1), ("p-0", 7, 2), ("p-1", 3, 5), ("p-0", 9, 0), ("p-0", 7, 2)]
    assert joined.oldest() == {"p-0": 7, "p-1": 3}
    messages = [(source, offset, members.tolist()) for source, offset, members in joined.messages()]
    assert messages == [("p-0", 7, [0, 1, 4]), ("p-0", 9, [3]), ("p-1", 3, [2])]


def test_one_part_without_places_leaves_none() -> None:
    assert join_places([]) is None
    assert join_places([in_message("p-0", 7, [1]), None]) is None


def test_a_place_is_before_an_offset_of_its_own_source_only() -> None:
    places = join_places([in_message("p-0", 7, [1]), in_message("p-1", 3, [5])])
    assert places is not None
    assert not places.are_before({"p-0": 7, "p-1": 3, "p-2": 100})
    assert places.are_before({"p-1": 4})
    assert places.take(np.array([False, True])).oldest() == {"p-1": 3}
