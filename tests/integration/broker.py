"""A real broker for the tests: the one that is named, else a container, else Apache Kafka from Maven Central."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Protocol

from tests.integration.maven_broker import MavenBroker, NoBroker

BOOTSTRAP_VARIABLE = "CURATORD_TEST_BOOTSTRAP"

# What the container's image does not set by itself; maven_broker.py says why.
CONTAINER_SETTINGS = {
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_TRANSACTION_ABORT_TIMED_OUT_TRANSACTION_CLEANUP_INTERVAL_MS": "1000",
    "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
}


class Broker(Protocol):
    """A broker that tests share."""

    bootstrap: str  # host:port

    def close(self) -> None:
        """Ends it, if it was started for the tests."""


@dataclass(frozen=True, slots=True)
class GivenBroker:
    """A broker that runs already."""

    bootstrap: str

    def close(self) -> None:
        """Leaves it alone."""


class ContainerBroker:
    """A broker in a container."""

    def __init__(self) -> None:
        """Starts it. Raises `NoBroker` if no engine answers."""
        _ping_engine()
        from testcontainers.community.kafka import KafkaContainer

        self._container = KafkaContainer().with_kraft()
        for name, value in CONTAINER_SETTINGS.items():
            self._container.with_env(name, value)
        self._container.start(timeout=120)
        self.bootstrap: str = self._container.get_bootstrap_server()

    def close(self) -> None:
        """Removes the container."""
        self._container.stop()


def open_broker() -> Broker:
    """The first of the ways that works. Raises `NoBroker` with what to install, if none does."""
    if bootstrap := os.environ.get(BOOTSTRAP_VARIABLE):
        return GivenBroker(bootstrap)
    try:
        return ContainerBroker()
    except NoBroker as error:
        no_container = error
    try:
        return MavenBroker()
    except NoBroker as error:
        raise NoBroker(
            f"no Kafka broker for the tests. Set {BOOTSTRAP_VARIABLE} to one; or start a container engine "
            f"({no_container}); or install java 17 and maven ({error})"
        ) from error


def _ping_engine() -> None:
    # In a process of its own: where no engine answers, its client leaves a socket open, and a warning is an error here.
    command = [sys.executable, "-c", "import docker; docker.from_env(timeout=3).ping()"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise NoBroker(f"no container engine answers: {reason[-1]}")
