"""Clients: how everything that talks to a Kafka cluster is made."""

from __future__ import annotations

from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError

from consumers.connection import KafkaConfig, client_options
from curatord.errors import BrokerUnavailable

# A consumer holds this much for each broker, raw, and as much again decoded.
FETCH_BYTES = 16 << 20
PARTITION_FETCH_BYTES = 4 << 20
# An idempotent producer has one batch in flight for each partition, so batches are large.
BATCH_BYTES = 512 << 10
LINGER_MS = 5
# Far above any record: the limits of our own come first, since a record over this one would be lost silently.
MAX_REQUEST_BYTES = 256 << 20


def connected_consumer(config: KafkaConfig, **options: Any) -> KafkaConsumer:
    """A consumer that never moves its position by itself. Raises `BrokerUnavailable`."""
    try:
        return KafkaConsumer(
            **client_options(config),
            **options,
            enable_auto_commit=False,
            auto_offset_reset="none",
            allow_auto_create_topics=False,
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
            bootstrap_timeout_ms=int(config.request_timeout_s * 1000),
        )
    except KafkaError as error:
        raise unreachable(config, error) from error


def connected_producer(config: KafkaConfig, **options: Any) -> KafkaProducer:
    """An idempotent producer. Raises `BrokerUnavailable`."""
    try:
        return KafkaProducer(
            **client_options(config),
            **options,
            # Before the transaction's own end, or the cluster would abort what is still being retried.
            delivery_timeout_ms=int(max(config.request_timeout_s * 1000 + LINGER_MS, config.commit_timeout_s * 750)),
            linger_ms=LINGER_MS,
            batch_size=BATCH_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
            max_block_ms=int(config.request_timeout_s * 1000),
            compression_type="lz4",
            allow_auto_create_topics=False,
            bootstrap_timeout_ms=int(config.request_timeout_s * 1000),
        )
    except KafkaError as error:
        raise unreachable(config, error) from error


def connected_admin(config: KafkaConfig) -> KafkaAdminClient:
    """A client for topics and their options. Raises `BrokerUnavailable`."""
    try:
        return KafkaAdminClient(**client_options(config), bootstrap_timeout_ms=int(config.request_timeout_s * 1000))
    except KafkaError as error:
        raise unreachable(config, error) from error


def unreachable(config: KafkaConfig, error: Exception) -> BrokerUnavailable:
    """The error for a cluster that does not answer."""
    return BrokerUnavailable(
        f"no broker answers at {config.bootstrap_servers} ({error}). "
        "Is the cluster up, and kafka.bootstrap_servers right?"
    )
