"""Fixtures for tests on a real broker. Without any broker they skip, saying what to install; in CI they fail."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from typing import NoReturn

import pytest

from tests.integration.broker import Broker, open_broker
from tests.integration.lane import Instance, Lane
from tests.integration.maven_broker import MavenBroker, NoBroker
from tests.integration.proxy import Proxy
from tests.integration.world import create_topics
from tests.integration.writer import PARTITIONS, Writer


@pytest.fixture(scope="session", autouse=True)
def _quiet_clients() -> None:
    """kafka-python logs every disconnection, which is what many of these tests are about."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """The broker that all tests share: leave it running, and name topics, groups and lanes after `prefix`."""
    try:
        opened = open_broker()
    except NoBroker as error:
        _do_without(str(error))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def maven_broker(broker: Broker) -> Iterator[MavenBroker]:
    """A shared broker whose clients can be led through a `Proxy`: the shared one, if it is of that kind."""
    if isinstance(broker, MavenBroker):
        yield broker
        return
    opened = _open_maven_broker()
    yield opened
    opened.close()


@pytest.fixture
def own_broker() -> Iterator[MavenBroker]:
    """A broker for one test alone, which may stop, start and restart it. Takes about 4 s."""
    opened = _open_maven_broker()
    yield opened
    opened.close()


@pytest.fixture
def proxy(maven_broker: MavenBroker) -> Iterator[Proxy]:
    """A spoiled network between `maven_broker` and the clients that bootstrap from its `proxied_bootstrap`."""
    with Proxy.before(maven_broker) as opened:
        yield opened


@pytest.fixture
def prefix() -> str:
    """A name that no other test has: the beginning of the names of topics, groups and lanes."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def instance(lane: Lane) -> Iterator[Instance]:
    """A daemon of the test's own `lane`, not started yet."""
    instance = Instance(lane, "a", lane.bootstrap)
    yield instance
    instance.kill()


def _open_maven_broker() -> MavenBroker:
    try:
        return MavenBroker()
    except NoBroker as error:
        _do_without(f"only a broker from Maven Central can be restarted or put behind a proxy: {error}")


def _do_without(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def topic(broker: Broker, prefix: str) -> str:
    """A topic of sequences."""
    create_topics(broker.bootstrap, {prefix: PARTITIONS})
    return prefix


@pytest.fixture
def writer(broker: Broker, topic: str) -> Iterator[Writer]:
    """Its writer."""
    writer = Writer(broker.bootstrap, topic)
    yield writer
    writer.close()
