"""All partitions go to one member: the owner, as long as it is there."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest
from kafka import TopicPartition

from consumers.kafka.assignor import AllToOne, Said, choose


@pytest.mark.parametrize(
    ("members", "chosen"),
    [
        ({"a": Said(), "b": Said(generation=4, owner=True)}, "b"),
        ({"a": Said(generation=5, owner=True), "b": Said(generation=4, owner=True)}, "a"),  # b was frozen
        ({"a": Said(generation=3), "b": Said(generation=4)}, "b"),
        ({"b": Said(), "a": Said()}, "a"),
    ],
)
def test_the_member_is_the_owner_then_the_one_that_followed_last(members: dict[str, Said], chosen: str) -> None:
    assert choose(members) == chosen


@dataclass(frozen=True)
class Assignment:
    """As kafka-python hands it to the assignor."""

    of: tuple[TopicPartition, ...]

    def partitions(self) -> tuple[TopicPartition, ...]:
        return self.of


def test_a_member_says_what_it_owns_when_it_joins_again() -> None:
    assignor = AllToOne()
    assignor.on_assignment(Assignment((TopicPartition("documents", 1), TopicPartition("documents", 0))), 7)

    subscription = assignor.metadata(["documents"])

    assert msgspec.json.decode(subscription.user_data, type=Said) == Said(generation=7, owner=True)
    assert [(owned.topic, owned.partitions) for owned in subscription.owned_partitions] == [("documents", [0, 1])]
