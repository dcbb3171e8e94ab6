"""Clients: how everything that talks to a Kafka cluster is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import AuthorizationError, KafkaError, UnknownBrokerIdError
from kafka.net.manager import KafkaConnectionManager
from kafka.record.default_records import DefaultRecordBatch
from kafka.structs import OffsetAndMetadata

from consumers.kafka.connection import PASSWORD_VARIABLE, KafkaConfig, client_options
from consumers.kafka.rights import check_described, check_rights, no_right
from consumers.kafka.topics import TopicsConfig
from curatord.access import OptionNames, check_access
from curatord.clients import open_client
from curatord.errors import BrokerUnavailable, ConfigError, CuratordError

NAMES = OptionNames(
    protocol="kafka.security_protocol",
    mechanism="kafka.sasl_mechanism",
    user="kafka.username",
    password=f"kafka.password_file, or {PASSWORD_VARIABLE}",
    token="kafka.oauth_token_url or kafka.oauth_token_file",
    ca="kafka.ssl_ca_file",
    certificate="kafka.ssl_certificate_file",
    servers="kafka.bootstrap_servers",
)


class _Lenient(bytes):
    """Bytes whose slices decode with any content."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return _Lenient(found) if isinstance(place, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, "replace")


_read_record = DefaultRecordBatch._read_msg


def _read_any_record(batch: DefaultRecordBatch) -> Any:
    """One record; kafka-python takes it for damaged where the name of a header is no UTF-8, and would never get on."""
    try:
        return _read_record(batch)
    except UnicodeDecodeError:
        batch._buffer = _Lenient(batch._buffer)
        return _read_record(batch)


DefaultRecordBatch._read_msg = _read_any_record

# A broker that hangs takes a connection, and says nothing on it. The clients have no option for this.
KafkaConnectionManager.DEFAULT_CONFIG["socket_connection_setup_timeout_ms"] = 3000

# A consumer holds this much for each broker, raw, and as much again decoded.
FETCH_BYTES = 16 << 20
PARTITION_FETCH_BYTES = 4 << 20
# An idempotent producer has one batch in flight for each partition, so batches are as large as brokers take them.
BATCH_BYTES = 1_000_000
LINGER_MS = 5
# Far above any record: the limits of our own come first, since a record over this one would be lost silently.
MAX_REQUEST_BYTES = 256 << 20
ATTEMPTS, WAIT_S = 20, 0.25


_let_in: set[KafkaConfig] = set()


def _options(config: KafkaConfig) -> dict[str, Any]:
    """`client_options` that the cluster lets in; asked once. Raises `AccessRefused`, `ConfigError`."""
    options = client_options(config)
    if config not in _let_in:
        _check_access(config, options)
        _let_in.add(config)
    return options


def _check_access(config: KafkaConfig, options: dict[str, Any]) -> None:
    check_access(options, NAMES, has_certificate=bool(config.ssl_certificate_file))


def connected_consumer(config: KafkaConfig, **options: Any) -> KafkaConsumer:
    """A consumer that never moves its position by itself. Raises `AccessRefused`, `BrokerUnavailable`."""
    try:
        return open_client(
            KafkaConsumer,
            **_options(config),
            **{"max_partition_fetch_bytes": PARTITION_FETCH_BYTES, **options},
            enable_auto_commit=False,
            auto_offset_reset="none",
            allow_auto_create_topics=False,
            fetch_max_bytes=FETCH_BYTES,
            bootstrap_timeout_ms=int(config.request_timeout_s * 1000),
        )
    except KafkaError as error:
        raise unreachable(config, error) from error


def connected_producer(config: KafkaConfig, kind: type[Any] = KafkaProducer, **options: Any) -> Any:
    """An idempotent producer. Raises `AccessRefused`, `BrokerUnavailable`."""
    patience_ms = int(config.request_timeout_s * 1000)
    try:
        return open_client(
            kind,
            **_options(config),
            **{
                "max_block_ms": patience_ms,
                "bootstrap_timeout_ms": patience_ms,
                "compression_type": "lz4",
                **options,
            },
            # Before the transaction's own end, or the cluster would abort what is still being retried.
            delivery_timeout_ms=int(max(config.request_timeout_s * 1000 + LINGER_MS, config.commit_timeout_s * 750)),
            linger_ms=LINGER_MS,
            batch_size=BATCH_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
            allow_auto_create_topics=False,
        )
    except KafkaError as error:
        raise unreachable(config, error) from error


def connected_admin(config: KafkaConfig) -> KafkaAdminClient:
    """A client for topics and their options, connected to a broker that answers.

    Raises `AccessRefused`, `BrokerUnavailable`.
    """
    try:
        patience_ms = int(config.request_timeout_s * 1000)
        admin = open_client(KafkaAdminClient, **_options(config), bootstrap_timeout_ms=patience_ms)
    except KafkaError as error:
        raise unreachable(config, error) from error
    try:
        # A broker that just died is still listed; requests go where a connection stands.
        patiently(admin.describe_cluster)
    except KafkaError as error:
        admin.close()
        raise unreachable(config, error) from error
    return admin


def check_lane_rights(
    config: KafkaConfig,
    topics: TopicsConfig,
    check: Callable[[KafkaAdminClient, KafkaConfig, TopicsConfig], None] = check_rights,
) -> None:
    """Raise `AccessRefused` naming every right that the lane, or another, lacks, `BrokerUnavailable`."""
    admin = connected_admin(config)
    try:
        check(admin, config, topics)
    except KafkaError as error:
        raise unreachable(config, error) from error
    finally:
        admin.close()


def await_acknowledged(futures: Iterable[Any], config: KafkaConfig) -> None:
    """Until all that was sent is acknowledged. Raises `KafkaError`.

    A future ends by the producer's own delivery timeout; the deadline is for one that does not.
    """
    deadline = time.monotonic() + 2 * config.commit_timeout_s
    for future in futures:
        future.get(timeout=max(0.001, deadline - time.monotonic()))


def drop_producer(producer: KafkaProducer | None) -> None:
    """Let a producer go, with what it has not sent."""
    if producer is not None:
        with suppress(KafkaError):
            producer.close(timeout=0)


def position_of(consumer: KafkaConsumer, partition: TopicPartition) -> int | None:
    """Where a partition that it reads is read on; None while that is looked up.

    `KafkaConsumer.position` may ask the cluster, and raise what belongs to the next poll.
    """
    state = consumer._subscription.assignment.get(partition)
    return None if state is None or state.position is None else int(state.position.offset)


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic, as the cluster describes it."""

    topic_id: str  # another one after the topic was deleted and made anew
    num_partitions: int
    max_message_bytes: int


def describe_topics(config: KafkaConfig, names: Sequence[str]) -> dict[str, TopicInfo]:
    """The topics as they are. Raises `ConfigError` naming all that do not exist, `BrokerUnavailable`."""
    admin = connected_admin(config)
    try:
        described = {topic["name"]: topic for topic in admin.describe_topics(list(names))}
        check_described(config, described, dict.fromkeys(names, ("Describe", "DescribeConfigs")))
        missing = [name for name in names if described[name]["error_code"]]
        if missing:
            raise ConfigError(
                f"no topic {', '.join(missing)} at {config.bootstrap_servers}: `curatord topics create` makes "
                "what is missing, [topics] names them"
            )
        options = admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": None}) for name in names],
            config_filter="all",
        )["topic"]
    except KafkaError as error:
        raise unreachable(config, error) from error
    finally:
        admin.close()
    return {
        name: TopicInfo(
            topic_id=str(described[name]["topic_id"]),
            num_partitions=len(described[name]["partitions"]),
            max_message_bytes=int(options[name]["max.message.bytes"]["value"]),
        )
        for name in names
    }


def group_offsets(admin: KafkaAdminClient, group: str) -> dict[TopicPartition, OffsetAndMetadata]:
    """The committed offsets of a group. Raises `KafkaError`.

    A cluster that never had a group makes a topic for it first, which takes a moment.
    """
    return next(iter(patiently(lambda: admin.list_group_offsets(group)).values()), {})


def group_members(admin: KafkaAdminClient, group: str) -> list[dict[str, Any]]:
    """The members of a group, as kafka-python describes them. Raises `KafkaError`."""
    members: list[dict[str, Any]] = patiently(lambda: admin.describe_groups([group])).get(group, {}).get("members", [])
    return members


def passes(error: KafkaError) -> bool:
    """Whether trying again may help. A broker that is gone is unknown until others have its place."""
    return bool(error.retriable) or isinstance(error, UnknownBrokerIdError)


def patiently(question: Callable[[], Any]) -> Any:
    """An answer, as soon as there is one: others take the place of a broker that died. Raises `KafkaError`."""
    for _ in range(ATTEMPTS):
        try:
            return question()
        except KafkaError as error:
            if not passes(error):
                raise
            time.sleep(WAIT_S)
    return question()


def unreachable(config: KafkaConfig, error: Exception) -> CuratordError:
    """The error for a cluster that does not answer, or does not let this client in any more."""
    if isinstance(error, AuthorizationError):
        return no_right(config, error)
    _let_in.discard(config)
    try:
        _check_access(config, client_options(config))
    except CuratordError as refused:
        return refused
    return BrokerUnavailable(
        f"no broker answers at {config.bootstrap_servers} ({error}). "
        "Is the cluster up, and kafka.bootstrap_servers right?"
    )
