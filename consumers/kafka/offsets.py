"""Offsets of a worker's share: read on at them, tell them to the group, count what waits behind them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import CommitFailedError, KafkaError, RebalanceInProgressError
from kafka.structs import OffsetAndMetadata

from consumers.kafka.connection import KafkaConfig
from consumers.kafka.positions import source_name
from curatord.errors import BrokerUnavailable

Offsets = Mapping[TopicPartition, int]


def read_on_at(consumer: KafkaConsumer, offsets: Offsets) -> None:
    """Read on there once more."""
    for partition, at in offsets.items():
        with suppress(KafkaError, AssertionError):  # of one that is being taken away
            consumer.seek(partition, at)


def commit_offsets(
    consumer: KafkaConsumer, offsets: dict[TopicPartition, OffsetAndMetadata], config: KafkaConfig
) -> bool:
    """Whether the group took them; else it moves on, and its next owners do some of it again.

    Raises `BrokerUnavailable`.
    """
    if not offsets:
        return True
    try:
        consumer.commit(offsets, timeout_ms=int(config.request_timeout_s * 1000))
    except (CommitFailedError, RebalanceInProgressError):
        return False
    except KafkaError as error:
        raise BrokerUnavailable(f"the group did not take what was done: {error}") from error
    return True


def waiting_after(consumer: KafkaConsumer, offsets: Offsets, config: KafkaConfig) -> dict[str, int]:
    """Messages from each offset on, by the partition's name. Raises `BrokerUnavailable`."""
    partitions = sorted(offsets)
    timeout_ms = int(config.request_timeout_s * 1000)
    try:
        ends = consumer.end_offsets(partitions, timeout_ms=timeout_ms) if partitions else {}
    except KafkaError as error:
        raise BrokerUnavailable(f"the cluster does not answer: {error}") from error
    return {source_name(p): max(0, end - offsets[p]) for p, end in ends.items() if p in offsets}
