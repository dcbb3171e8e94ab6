"""The marker of a lane is read back, and one that is none, or is of other partitions, stops with the way out."""

from __future__ import annotations

import msgspec
import pytest

from consumers.kafka.marker import Marker, check_partitions, decode_marker
from curatord.errors import IdentityError, StateError

MARKER = Marker(e=7, lane="a1", id="{}", p=4, by="p1")


def test_a_marker_comes_back() -> None:
    assert decode_marker(msgspec.json.encode(MARKER).decode()) == MARKER


@pytest.mark.parametrize("metadata", ["", "7", '{"e": 7}'])
def test_metadata_of_another_kind_are_refused_with_the_page_that_helps(metadata: str) -> None:
    with pytest.raises(StateError, match=r"no marker of curatord.*#marker-gone"):
        decode_marker(metadata)


def test_other_partitions_than_the_lane_was_made_with_are_refused() -> None:
    check_partitions(MARKER, 4, topic="sequences", lane="web")
    check_partitions(msgspec.structs.replace(MARKER, p=0), 8, topic="sequences", lane="web")
    with pytest.raises(IdentityError, match="topic sequences has 8 partitions, lane web was made with 4"):
        check_partitions(MARKER, 8, topic="sequences", lane="web")
