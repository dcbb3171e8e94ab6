"""Clients that cannot be opened leave no thread."""

from __future__ import annotations

import threading

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError

from curatord.clients import open_client


@pytest.mark.parametrize("kind", [KafkaAdminClient, KafkaConsumer, KafkaProducer])
def test_a_client_that_finds_no_broker_leaves_no_thread(kind: type) -> None:
    before = set(threading.enumerate())
    with pytest.raises(KafkaError):
        open_client(kind, bootstrap_servers="127.0.0.1:1", bootstrap_timeout_ms=200)
    assert set(threading.enumerate()) <= before
