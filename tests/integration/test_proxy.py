from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError

from tests.integration.maven_broker import MavenBroker
from tests.integration.proxy import Proxy
from tests.integration.world import create_topics, read_topic, wait_until


@pytest.fixture
def producer(maven_broker: MavenBroker, proxy: Proxy, prefix: str) -> Iterator[KafkaProducer]:
    """A producer behind the proxy that gives up on an answer after 1 s and on a delivery after 20 s."""
    create_topics(maven_broker.bootstrap, {prefix: 1})
    producer = KafkaProducer(
        bootstrap_servers=maven_broker.proxied_bootstrap,
        request_timeout_ms=1000,
        delivery_timeout_ms=20_000,
        retry_backoff_ms=20,
        reconnect_backoff_ms=20,
        reconnect_backoff_max_ms=100,
    )
    producer.send(prefix, b"before").get(timeout=10)
    yield producer
    producer.close(timeout=0)


def values(broker: MavenBroker, topic: str) -> list[bytes]:
    return [record.value for record in read_topic(broker.bootstrap, topic)]


def test_clients_that_come_through_the_proxy_stay_on_it(maven_broker: MavenBroker, proxy: Proxy):
    assert proxy.num_connections == 0
    with KafkaConsumer(bootstrap_servers=maven_broker.proxied_bootstrap) as consumer:
        consumer.topics()
        assert proxy.num_connections >= 1
    wait_until(lambda: proxy.num_connections == 0, "the end of the consumer's connections")
    with KafkaConsumer(bootstrap_servers=maven_broker.bootstrap) as consumer:
        consumer.topics()
        assert proxy.num_connections == 0


def test_a_delay_holds_both_ways_and_keeps_the_order(
    maven_broker: MavenBroker, proxy: Proxy, producer: KafkaProducer, prefix: str
):
    proxy.delay(0.2)
    start = time.monotonic()
    sent = [producer.send(prefix, b"%d" % i) for i in range(200)]
    sent[0].get(timeout=10)
    assert time.monotonic() - start >= 0.4
    proxy.heal()
    sent[-1].get(timeout=10)
    assert values(maven_broker, prefix) == [b"before", *(b"%d" % i for i in range(200))]


def test_a_cut_resets_connections_and_takes_new_ones(
    maven_broker: MavenBroker, proxy: Proxy, producer: KafkaProducer, prefix: str
):
    with socket.create_connection(("127.0.0.1", maven_broker.proxy_port)) as client:
        client.settimeout(10)
        wait_until(lambda: proxy.num_connections >= 2, "the connection")
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    producer.send(prefix, b"after").get(timeout=20)
    assert values(maven_broker, prefix) == [b"before", b"after"]


def test_refusing_leaves_the_present_connections(
    maven_broker: MavenBroker, proxy: Proxy, producer: KafkaProducer, prefix: str
):
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", maven_broker.proxy_port))
    producer.send(prefix, b"during").get(timeout=10)
    proxy.cut()
    sent = producer.send(prefix, b"after")
    with pytest.raises(KafkaTimeoutError):
        sent.get(timeout=0.5)
    assert values(maven_broker, prefix) == [b"before", b"during"]
    proxy.heal()
    sent.get(timeout=20)
    assert values(maven_broker, prefix) == [b"before", b"during", b"after"]


def test_swallowed_answers_leave_the_client_waiting_for_what_was_done(
    maven_broker: MavenBroker, proxy: Proxy, producer: KafkaProducer, prefix: str
):
    proxy.swallow("down")
    sent = producer.send(prefix, b"after")
    wait_until(lambda: values(maven_broker, prefix) == [b"before", b"after"], "the record")
    assert not sent.is_done
    proxy.heal()
    sent.get(timeout=20)
    # The idempotent producer has sent it twice.
    assert values(maven_broker, prefix) == [b"before", b"after"]


@pytest.mark.parametrize("directions", [("up",), ()], ids=["requests", "everything"])
def test_swallowed_requests_are_never_done(
    maven_broker: MavenBroker, proxy: Proxy, producer: KafkaProducer, prefix: str, directions: tuple
):
    proxy.swallow(*directions)
    sent = producer.send(prefix, b"after")
    with pytest.raises(KafkaError):
        sent.get(timeout=0.5)
    # Connections are still made; only nothing comes of them.
    with socket.create_connection(("127.0.0.1", maven_broker.proxy_port), timeout=5):
        pass
    assert values(maven_broker, prefix) == [b"before"]
    proxy.heal()
    sent.get(timeout=20)
    assert values(maven_broker, prefix) == [b"before", b"after"]


def test_behind_the_proxy_a_broker_that_is_away_hangs_up(maven_broker: MavenBroker):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with (
            Proxy(port=maven_broker.proxy_port, target_port=unused.getsockname()[1]),
            pytest.raises(ConnectionResetError),
            socket.create_connection(("127.0.0.1", maven_broker.proxy_port), timeout=5) as client,
        ):
            client.recv(1)


def test_two_proxies_do_not_share_a_port(maven_broker: MavenBroker, proxy: Proxy):
    with pytest.raises(OSError, match="address already in use"):
        Proxy.before(maven_broker)
