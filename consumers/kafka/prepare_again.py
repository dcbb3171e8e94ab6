"""Preparing again: the way out of a gap, or of prepared documents of another configuration.

Workers go back to where the lane stands, and the lane passes over what lies on the topic now. Only offsets of the two
groups move, so both must be at rest. What the lane has decided is not touched.
"""

from __future__ import annotations

from collections.abc import Mapping

from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import KafkaError, NoError, UnknownMemberIdError
from kafka.structs import OffsetAndMetadata

from consumers.kafka.clients import (
    connected_admin,
    connected_consumer,
    describe_topics,
    group_members,
    group_offsets,
    unreachable,
)
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.positions import source_name
from consumers.kafka.topics import TopicsConfig
from curatord.errors import UsageError


def prepare_again(kafka: KafkaConfig, topics: TopicsConfig) -> dict[str, int]:
    """Where each partition of documents will be prepared from.

    Raises `UsageError` while a process is in one of the groups, `ConfigError` if topics are missing,
    `BrokerUnavailable`.
    """
    counts = describe_topics(kafka, [topics.documents, topics.prepared])
    documents, prepared = (
        [TopicPartition(topic, number) for number in range(counts[topic].num_partitions)]
        for topic in (topics.documents, topics.prepared)
    )
    admin, reader = connected_admin(kafka), connected_consumer(kafka, group_id=None, isolation_level="read_committed")
    try:
        for group in (kafka.lane, kafka.workers):
            _check_empty(admin, group)
        lane = group_offsets(admin, kafka.lane)
        first, end = reader.beginning_offsets(documents), reader.end_offsets(prepared)
        start = starts(first, lane)
        _move(admin, kafka.workers, start)
        _move(admin, kafka.lane, end)
    except KafkaError as error:
        raise unreachable(kafka, error) from error
    finally:
        admin.close()
        reader.close()
    return {source_name(partition): at for partition, at in start.items()}


def starts(
    first: Mapping[TopicPartition, int], lane: Mapping[TopicPartition, OffsetAndMetadata]
) -> dict[TopicPartition, int]:
    """Where the lane stands in each partition; at its beginning where the lane has read nothing."""
    return {p: lane[p].offset if p in lane else at for p, at in first.items()}


def _check_empty(admin: KafkaAdminClient, group: str) -> None:
    if members := group_members(admin, group):
        raise _not_empty(group, f"{len(members)} processes are")


def _not_empty(group: str, who: str) -> UsageError:
    return UsageError(f"{who} in the group {group}: stop `curatord run` and all `curatord prepare` first")


def _move(admin: KafkaAdminClient, group: str, positions: dict[TopicPartition, int]) -> None:
    offsets = {partition: OffsetAndMetadata(at, "", -1) for partition, at in positions.items()}
    for error in admin.alter_group_offsets(group, offsets).values():
        if error is UnknownMemberIdError:
            raise _not_empty(group, "a process is")
        if error is not NoError:
            raise error(group)
