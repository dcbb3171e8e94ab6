"""`curatord topics`: compare the topics of the cluster with what the service needs, and make them so."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from kafka import KafkaAdminClient

from consumers.kafka.clients import connected_admin
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.topic_specs import (
    DEFAULT_PARTITIONS,
    Difference,
    TopicSpec,
    check_topics,
    repair_topics,
    topic_specs,
)
from curatord.errors import BrokerUnavailable, UsageError
from daemon.commands.screen import PATIENCE_S, show
from daemon.config import Config, load_config


def topics_check(config_path: Path | None, *, as_json: bool) -> int:
    """Print every difference; 1 if there are any. Raises `BrokerUnavailable`, `ConfigError`."""
    kafka, specs = wanted_topics(load_config(config_path), DEFAULT_PARTITIONS)
    admin = connected_admin(kafka)
    try:
        differences = check_topics(admin, kafka, specs)
    finally:
        admin.close()
    if as_json:
        click.echo(json.dumps([asdict(difference) for difference in differences], indent=2))
    else:
        _show(specs, differences)
    return 1 if differences else 0


def topics_create(config_path: Path | None, *, yes: bool, num_partitions: int, replication_factor: int) -> int:
    """Print what would change and, if that is wanted, change it; 1 if something is left that cannot be.

    Raises `BrokerUnavailable`, `ConfigError`, `UsageError` if it was not confirmed.
    """
    kafka, specs = wanted_topics(load_config(config_path), num_partitions)
    admin = connected_admin(kafka)
    try:
        differences = check_topics(admin, kafka, specs)
        _show(specs, differences)
        possible = [difference for difference in differences if difference.can_be_repaired]
        if possible:
            if not yes and not click.confirm(f"Make these {len(possible)} changes at {kafka.bootstrap_servers}?"):
                raise UsageError("nothing was changed")
            repair_topics(admin, kafka, specs, possible, replication_factor=replication_factor)
            _wait_until_seen(admin, kafka, specs)
            show(f"{len(possible)} changes made")
    finally:
        admin.close()
    return 0 if len(possible) == len(differences) else 1


def _wait_until_seen(admin: KafkaAdminClient, kafka: KafkaConfig, specs: Sequence[TopicSpec]) -> None:
    """The cluster tells of a change a moment after it was made."""
    deadline = time.monotonic() + kafka.request_timeout_s
    while any(difference.can_be_repaired for difference in check_topics(admin, kafka, specs)):
        if time.monotonic() > deadline:
            raise BrokerUnavailable("the changes were taken, but the cluster does not show them: run `topics check`")
        time.sleep(0.1)


def wanted_topics(config: Config, num_partitions: int = DEFAULT_PARTITIONS) -> tuple[KafkaConfig, list[TopicSpec]]:
    """The cluster, for a command at a terminal, and the topics that a service of this configuration needs."""
    specs = topic_specs(
        config.topics,
        context_length=config.packing.context_length,
        dead_letter_bytes=config.dead_letters.max_bytes,
        num_partitions=num_partitions,
    )
    return config.kafka.patient(PATIENCE_S), specs


def _show(specs: Sequence[TopicSpec], differences: Sequence[Difference]) -> None:
    for spec in specs:
        own = [difference for difference in differences if difference.topic == spec.name]
        for difference in own:
            show(str(difference))
        if not own:
            show(f"= {spec.name}: as it must be ({spec.what})")
