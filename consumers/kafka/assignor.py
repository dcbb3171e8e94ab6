"""Assignor: all partitions to one member of the group, and to the present owner as long as it is there.

Cooperative (KIP-429), so a member that joins or leaves does not interrupt the owner. Every member says in its
subscription whether it owns the lane, and since which generation. Members of another identity never get here: they
compare theirs with the committed one before they join.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from kafka.coordinator.assignors.abstract import AbstractPartitionAssignor, RebalanceProtocol
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment, ConsumerProtocolSubscription


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """The word of a member about itself, in its subscription."""

    generation: int = -1  # of its last assignment
    owner: bool = False


def choose(members: dict[str, Said]) -> str:
    """The member that gets everything.

    >>> choose({"b": Said(generation=4, owner=True), "a": Said(generation=5)})
    'b'
    >>> choose({"b": Said(generation=4), "a": Said()})
    'b'
    >>> choose({"b": Said(), "a": Said()})
    'a'
    """
    owners = {member: said for member, said in members.items() if said.owner}
    # Two owners: one of them was frozen and does not know yet that its time is over.
    return min(owners or members, key=lambda member: (-members[member].generation, member))


class AllToOne(AbstractPartitionAssignor):  # type: ignore[misc]  # kafka-python has no types
    """One per consumer: kafka-python tells it of each assignment."""

    name = "curatord-lane"

    def __init__(self) -> None:
        self._owned: list[Any] = []
        self._generation = -1

    def supported_protocols(self) -> list[RebalanceProtocol]:
        """Cooperative only."""
        return [RebalanceProtocol.COOPERATIVE]

    def metadata(self, topics: Sequence[str]) -> ConsumerProtocolSubscription:
        """The subscription with which this member joins."""
        Partitions = ConsumerProtocolSubscription.TopicPartition
        owned = [
            Partitions(topic=topic, partitions=sorted(p.partition for p in self._owned if p.topic == topic))
            for topic in sorted({p.topic for p in self._owned})
        ]
        said = Said(generation=self._generation, owner=bool(self._owned))
        return ConsumerProtocolSubscription(
            version=1, topics=sorted(topics), user_data=msgspec.json.encode(said), owned_partitions=owned
        )

    def assign(self, cluster: Any, members: Sequence[Any]) -> dict[str, ConsumerProtocolAssignment]:
        """Everything to one member; called on the leader of the group only."""
        said = {m.member_id: msgspec.json.decode(m.metadata.user_data or b"{}", type=Said) for m in members}
        chosen = choose(said)
        # What others read is not for it: while [topics] prepared is being changed, some read another topic.
        topics = sorted({topic for m in members if m.member_id == chosen for topic in m.metadata.topics})
        everything = [
            (topic, sorted(partitions)) for topic in topics if (partitions := cluster.partitions_for_topic(topic))
        ]
        return {member: ConsumerProtocolAssignment(1, everything if member == chosen else [], b"") for member in said}

    def on_assignment(self, assignment: Any, generation: int) -> None:
        """Remember what this member owns."""
        self._owned, self._generation = list(assignment.partitions()), generation
