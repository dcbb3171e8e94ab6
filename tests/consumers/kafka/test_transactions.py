"""An attempt that was cut off gives the next one more time, little where a broker is dead."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest
from kafka.errors import KafkaTimeoutError

from consumers.kafka.connection import KafkaConfig
from consumers.kafka.transactions import PATIENCE_S, SAME_AGAIN, SLOWER, Transactions


@pytest.mark.parametrize(("is_dead", "growth"), [(False, SLOWER), (True, SAME_AGAIN)])
def test_a_dead_broker_does_not_make_the_next_attempt_patient(is_dead: bool, growth: float) -> None:
    # Two brokers of a cluster as the client's metadata names them; sockets that listen, or no longer.
    with socket.create_server(("127.0.0.1", 0)) as alive, socket.create_server(("127.0.0.1", 0)) as other:
        addresses = [server.getsockname() for server in (alive, other)]
        if is_dead:
            other.close()
        transactions = Transactions(KafkaConfig())
        brokers = [SimpleNamespace(host=host, port=port) for host, port in addresses]
        transactions._producer = SimpleNamespace(_metadata=SimpleNamespace(brokers=lambda: brokers))  # type: ignore[assignment]
        with pytest.raises(KafkaTimeoutError), transactions._in_time():
            raise KafkaTimeoutError
    assert transactions._patience_s == growth * PATIENCE_S
