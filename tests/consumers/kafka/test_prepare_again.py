"""Workers go back to where the lane stands, or to the beginning of what it has not read."""

from __future__ import annotations

from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata

from consumers.kafka.prepare_again import starts


def test_each_partition_begins_where_the_lane_stands() -> None:
    known, new = TopicPartition("documents", 0), TopicPartition("documents", 1)

    assert starts({known: 3, new: 7}, {known: OffsetAndMetadata(40, "", -1)}) == {known: 40, new: 7}
