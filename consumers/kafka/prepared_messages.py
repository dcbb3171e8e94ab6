"""Prepared messages that were read before: tokens of held documents lie there, at places that the journal names."""

from __future__ import annotations

import time
from collections.abc import Sequence

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, OffsetOutOfRangeError

from consumers.formats.dead_letters import coordinates
from consumers.kafka.clients import connected_admin, connected_consumer
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.parts import Parts
from curatord.errors import BrokerUnavailable, StateError

POLL_MS = 500
TIMEOUT_S = 30.0
SAFE_PARTS = 2  # a message is safe for long until retention has come half its way to it


class PreparedMessages:
    """A client outside every group. Raises `BrokerUnavailable`."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._consumer: KafkaConsumer = connected_consumer(config, group_id=None, isolation_level="read_committed")
        self._at: tuple[TopicPartition, int] | None = None  # where it reads on

    def read(self, source: str, offset: int) -> bytes:
        """The message that begins at an offset. Raises `StateError` if it is gone."""
        partition, parts = TopicPartition(*coordinates(source)), Parts()
        deadline = time.monotonic() + max(TIMEOUT_S, self._config.request_timeout_s)
        try:
            if self._at is None or self._at[0] != partition:
                self._consumer.assign([partition])
            if self._at != (partition, offset):
                self._consumer.seek(partition, offset)
            while time.monotonic() < deadline:
                for record in self._consumer.poll(POLL_MS, max_records=1).get(partition, []):
                    value, first = parts.add(record)
                    self._at = partition, record.offset + 1
                    if record.offset == offset and not value and parts.start() is None:
                        raise _gone(source, offset, "another record is there")
                    if value is not None and first == offset:
                        return value
                    if record.offset > offset and parts.start() is None and value is None:
                        raise _gone(source, offset, "it is not whole")
        except OffsetOutOfRangeError as error:
            raise _gone(source, offset, str(error)) from error
        except KafkaError as error:
            raise BrokerUnavailable(f"{source} cannot be read at {offset}: {error}") from error
        finally:
            if self._at is not None and self._at[0] != partition:
                self._at = None
        raise BrokerUnavailable(f"{source} gave nothing at {offset} for {TIMEOUT_S:g} s")

    def retained(self, sources: Sequence[str]) -> dict[str, tuple[int, int]]:
        """The first offset of each that is there, and the first that retention does not reach for long."""
        partitions = {TopicPartition(*coordinates(source)): source for source in sources}
        timeout_ms = int(self._config.request_timeout_s * 1000)
        try:
            first = self._consumer.beginning_offsets(list(partitions), timeout_ms=timeout_ms)
            end = self._consumer.end_offsets(list(partitions), timeout_ms=timeout_ms)
            retained = {}
            for topic in {partition.topic for partition in partitions}:
                age_ms, num_bytes = self._limits(topic)
                ours = [partition for partition in partitions if partition.topic == topic]
                old_ms = int(time.time() * 1000) - age_ms // SAFE_PARTS
                young = self._consumer.offsets_for_times(dict.fromkeys(ours, old_ms)) if age_ms >= 0 else {}
                for partition in ours:
                    safe = first[partition]
                    if age_ms >= 0:
                        found = young.get(partition)
                        safe = max(safe, end[partition] if found is None else found.offset)
                    if num_bytes >= 0 and first[partition]:  # it was cut before, and is full
                        safe = max(safe, first[partition] + (end[partition] - first[partition]) // SAFE_PARTS)
                    retained[partitions[partition]] = first[partition], safe
        except KafkaError as error:
            raise BrokerUnavailable(f"the cluster does not say where prepared messages begin: {error}") from error
        return retained

    def _limits(self, topic: str) -> tuple[int, int]:
        """Milliseconds and bytes of a partition after which it is cut; -1 for never. Raises `KafkaError`."""
        names = "retention.ms", "retention.bytes"
        with connected_admin(self._config) as admin:
            resource = ConfigResource(ConfigResourceType.TOPIC, topic, dict.fromkeys(names))
            options = admin.describe_configs([resource], config_filter="all")["topic"][topic]
        age_ms, num_bytes = (int(options[name]["value"]) for name in names)
        return age_ms, num_bytes

    def close(self) -> None:
        """Let the connection go."""
        self._consumer.close()


def _gone(source: str, offset: int, why: str) -> StateError:
    return StateError(
        f"tokens of held documents lay in {source} from offset {offset}, and the message is not there any more: {why}. "
        "See docs/operating.md#places-gone"
    )
