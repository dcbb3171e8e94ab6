"""Topics as they must be: compared with those of the cluster, and made so.

What must hold stands here with its reason. Everything else is the operator's: retention of what others read and write
is only chosen where a topic is made, and never changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import AuthorizationError, KafkaError, NoError, UnknownTopicOrPartitionError, for_code

from consumers.formats.dead_letters import MAX_ENVELOPE_BYTES
from consumers.formats.probes import MAX_PROBE_BYTES
from consumers.formats.verdicts import MAX_RECORD_BYTES as MAX_VERDICTS_BYTES
from consumers.kafka.clients import unreachable
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.outputs import batch_bytes, max_sequence_bytes
from consumers.kafka.rights import check_described, no_right
from consumers.kafka.topics import TopicsConfig
from curatord.errors import ConfigError, CuratordError
from state.journal import PART_BYTES

DEFAULT_PARTITIONS = 4
DAY_MS = 86_400_000
FOR_EVER = "-1"
# A day of a lane at full speed in four partitions, about. The documents themselves are kept longer, and are prepared
# once more if need be.
PREPARED_PARTITION_BYTES = 50 << 30
# A record without a key cannot lie on a compacted topic, and one with a key would be lost there.
KEPT = {"cleanup.policy": "delete"}
# Losing any of it loses the state of the lane, so neither time nor size may cut it.
KEPT_FOR_EVER = {
    **KEPT,
    "retention.ms": FOR_EVER,
    "retention.bytes": FOR_EVER,
    "unclean.leader.election.enable": "false",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """How one topic must be."""

    name: str
    what: str  # a few words for a human
    num_partitions: int  # to make it with
    is_fixed: bool = False  # whether it must have exactly so many
    like: str = ""  # a topic with as many, which it must have, too
    exactly: Mapping[str, str] = field(default_factory=dict)
    at_least: Mapping[str, int] = field(default_factory=dict)
    initially: Mapping[str, str] = field(default_factory=dict)

    def options(self) -> dict[str, str]:
        """The options to make it with."""
        return {**self.initially, **self.exactly, **{name: str(least) for name, least in self.at_least.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One way in which a topic is not as it must be."""

    topic: str
    kind: Literal["missing", "partitions", "option"]
    option: str = ""
    found: str = ""
    wanted: str = ""
    num_partitions: int = 0  # to make it with, or to add up to; 0 where that does not help

    def __str__(self) -> str:
        if self.kind == "missing":
            return f"+ {self.topic}: does not exist; to be made with {self.wanted}"
        if self.kind == "partitions" and self.num_partitions:
            return f"~ {self.topic}: has {self.found} partitions, must have {self.wanted}"
        if self.kind == "partitions":
            return (
                f"! {self.topic}: has {self.found} partitions, must have {self.wanted}. That cannot be changed: "
                "name another topic in [topics], or delete this one if it holds nothing that is needed"
            )
        return f"~ {self.topic}: {self.option} is {self.found}, must be {self.wanted}"

    @property
    def can_be_repaired(self) -> bool:
        """Whether `repair_topics` can do something about it."""
        return self.kind != "partitions" or self.num_partitions > 0


def topic_specs(
    topics: TopicsConfig, *, context_length: int, dead_letter_bytes: int, num_partitions: int = DEFAULT_PARTITIONS
) -> list[TopicSpec]:
    """All topics that the service uses, in the order of [topics]."""
    specs = [
        TopicSpec(
            name=topics.documents,
            what="documents in",
            num_partitions=num_partitions,
            initially={**KEPT, "retention.ms": str(7 * DAY_MS)},
        ),
        TopicSpec(
            name=topics.prepared,
            what="documents as they were prepared",
            num_partitions=num_partitions,
            like=topics.documents,
            exactly=KEPT,
            at_least={"max.message.bytes": batch_bytes(PART_BYTES)},
            initially={"retention.ms": str(3 * DAY_MS), "retention.bytes": str(PREPARED_PARTITION_BYTES)},
        ),
        TopicSpec(
            name=topics.sequences,
            what="packed sequences out",
            num_partitions=num_partitions,
            exactly=KEPT,
            at_least={"max.message.bytes": batch_bytes(max_sequence_bytes(context_length))},
            initially={"retention.ms": str(7 * DAY_MS)},
        ),
        TopicSpec(
            name=topics.verdicts,
            what="decisions out",
            num_partitions=num_partitions,
            exactly=KEPT,
            at_least={"max.message.bytes": batch_bytes(MAX_VERDICTS_BYTES)},
            initially={"retention.ms": str(7 * DAY_MS)},
        ),
        TopicSpec(
            name=topics.dead_letters,
            what="what could not be read",
            num_partitions=num_partitions,
            exactly=KEPT,
            at_least={"max.message.bytes": batch_bytes(dead_letter_bytes + MAX_ENVELOPE_BYTES)},
            initially={"retention.ms": str(30 * DAY_MS)},
        ),
        *_scoring_specs(topics, num_partitions),
        *_own_specs(topics),
    ]
    return [spec for spec in specs if spec.name]


def _scoring_specs(topics: TopicsConfig, num_partitions: int) -> list[TopicSpec]:
    """The topics of rewards, and of requests for them."""
    return [
        TopicSpec(
            name=topics.feedback,
            what="losses and rewards in",
            num_partitions=num_partitions,
            exactly=KEPT,
            initially={"retention.ms": str(7 * DAY_MS)},
        ),
        TopicSpec(
            name=topics.probes,
            what="requests for rewards out",
            num_partitions=num_partitions,
            exactly=KEPT,
            at_least={"max.message.bytes": batch_bytes(MAX_PROBE_BYTES)},
            initially={"retention.ms": str(DAY_MS)},
        ),
    ]


def _own_specs(topics: TopicsConfig) -> list[TopicSpec]:
    """The topics that only the lane itself reads."""
    return [
        TopicSpec(
            name=topics.journal,
            what="the lane's record of every commit",
            num_partitions=1,
            is_fixed=True,
            exactly=KEPT_FOR_EVER,
            at_least={"max.message.bytes": batch_bytes(PART_BYTES)},
        ),
        TopicSpec(
            name=topics.artifacts,
            what="large parts of the state",
            num_partitions=1,
            is_fixed=True,
            exactly=KEPT_FOR_EVER,
            at_least={"max.message.bytes": batch_bytes(PART_BYTES)},
        ),
    ]


def check_topics(admin: KafkaAdminClient, kafka: KafkaConfig, specs: Sequence[TopicSpec]) -> list[Difference]:
    """Everything that is not as it must be; nothing is changed. Raises `BrokerUnavailable`, `ConfigError`."""
    try:
        described = {topic["name"]: topic for topic in admin.describe_topics([spec.name for spec in specs])}
        check_described(kafka, described, {spec.name: ("Describe", "DescribeConfigs") for spec in specs})
        present = [spec for spec in specs if _exists(described[spec.name])]
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, spec.name, dict.fromkeys([*spec.exactly, *spec.at_least]))
            for spec in present
            if spec.exactly or spec.at_least
        ]
        options = admin.describe_configs(resources, config_filter="all")["topic"] if resources else {}
    except KafkaError as error:
        raise refused(kafka, error) from error
    counts = {spec.name: len(described[spec.name]["partitions"]) for spec in present}
    differences = []
    for spec in specs:
        wanted_partitions = counts.get(spec.like, spec.num_partitions)
        if spec in present:
            found = {name: str(option["value"]) for name, option in options.get(spec.name, {}).items()}
            differences += _compare(spec, counts[spec.name], wanted_partitions, found)
        else:
            listed = "".join(f", {name} = {value}" for name, value in spec.options().items())
            noun = "partition" if wanted_partitions == 1 else "partitions"
            wanted = f"{wanted_partitions} {noun}{listed}"
            differences.append(
                Difference(topic=spec.name, kind="missing", wanted=wanted, num_partitions=wanted_partitions)
            )
    return differences


def repair_topics(
    admin: KafkaAdminClient,
    kafka: KafkaConfig,
    specs: Sequence[TopicSpec],
    differences: Sequence[Difference],
    *,
    replication_factor: int = -1,
) -> None:
    """Make what is missing, and set the options that differ. -1 leaves the replication to the cluster.

    Doing it again changes nothing. Raises `BrokerUnavailable`, `ConfigError` if the cluster refuses.
    """
    options = {spec.name: spec.options() for spec in specs}
    made = {
        difference.topic: {
            "num_partitions": difference.num_partitions,
            "replication_factor": replication_factor,
            "configs": options[difference.topic],
        }
        for difference in differences
        if difference.kind == "missing"
    }
    widened = {
        difference.topic: difference.num_partitions for difference in differences if difference.kind == "partitions"
    }
    changed: dict[str, dict[str, str]] = {}
    for difference in differences:
        if difference.kind == "option":
            least = next(spec for spec in specs if spec.name == difference.topic).at_least
            value = str(least.get(difference.option, difference.wanted))
            changed.setdefault(difference.topic, {})[difference.option] = value
    try:
        if made:
            admin.create_topics(made, wait_for_metadata=True)
        if widened:
            admin.create_partitions(widened)
        if changed:
            admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, name, options) for name, options in changed.items()]
            )
    except KafkaError as error:
        raise refused(kafka, error) from error


def refused(kafka: KafkaConfig, error: KafkaError) -> CuratordError:
    """The error for a request of an administrator that failed."""
    if isinstance(error, AuthorizationError):
        return no_right(kafka, error, operation="Create")
    if error.retriable:
        return unreachable(kafka, error)
    return ConfigError(f"the cluster at {kafka.bootstrap_servers} refused: {error}")


def _exists(described: Mapping[str, Any]) -> bool:
    kind = for_code(described["error_code"])
    if kind is NoError:
        return True
    if kind is UnknownTopicOrPartitionError:
        return False
    raise kind(f"topic {described['name']}")


def _compare(spec: TopicSpec, num_partitions: int, wanted: int, found: Mapping[str, str]) -> list[Difference]:
    """One topic that exists."""
    differences = []
    if (spec.is_fixed or spec.like) and num_partitions != wanted:
        differences.append(
            Difference(
                topic=spec.name,
                kind="partitions",
                found=str(num_partitions),
                wanted=str(wanted),
                num_partitions=wanted if spec.like and num_partitions < wanted else 0,
            )
        )
    for name, value in spec.exactly.items():
        if found[name] != value:
            differences.append(Difference(topic=spec.name, kind="option", option=name, found=found[name], wanted=value))
    for name, least in spec.at_least.items():
        if int(found[name]) < least:
            differences.append(
                Difference(topic=spec.name, kind="option", option=name, found=found[name], wanted=f"at least {least}")
            )
    return differences
