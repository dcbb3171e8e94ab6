from __future__ import annotations

import pytest
from kafka import KafkaProducer
from kafka.errors import TopicAlreadyExistsError

from tests.integration.broker import Broker
from tests.integration.world import create_topics, end_offsets, produce_documents, read_topic, wait_until


def test_what_is_produced_is_read_in_order(broker: Broker, prefix: str):
    create_topics(broker.bootstrap, {prefix: 3})
    documents = [{"id": f"d{i}", "text": "naïve ✓ " * i} for i in range(300)]
    places = produce_documents(broker.bootstrap, prefix, documents, partition=1)
    assert [place.offset for place in places] == list(range(300))
    produce_documents(broker.bootstrap, prefix, [b"not JSON"], partition=0)
    records = read_topic(broker.bootstrap, prefix)
    assert records[0].value == b"not JSON"
    assert [(record.partition, record.offset) for record in records[1:]] == [(1, i) for i in range(300)]
    assert b"na\xc3\xafve" in records[2].value


def test_only_committed_records_are_read(broker: Broker, prefix: str):
    create_topics(broker.bootstrap, {prefix: 1})
    with KafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id=prefix, retry_backoff_ms=20) as producer:
        producer.init_transactions()
        for value, finish in (
            (b"aborted", producer.abort_transaction),
            (b"committed", producer.commit_transaction),
            (b"aborted too", producer.abort_transaction),
        ):
            producer.begin_transaction()
            producer.send(prefix, value, partition=0)
            producer.flush()
            finish()
        # The markers of the three transactions take offsets too, the last of them at the very end.
        assert [record.value for record in read_topic(broker.bootstrap, prefix)] == [b"committed"]
        producer.begin_transaction()
        producer.send(prefix, b"open", partition=0)
        producer.flush()
        assert end_offsets(broker.bootstrap, prefix) == {0: 6}
        assert [record.value for record in read_topic(broker.bootstrap, prefix)] == [b"committed"]
        producer.abort_transaction()


def test_an_empty_topic_holds_nothing(broker: Broker, prefix: str):
    create_topics(broker.bootstrap, {prefix: 2}, {"max.message.bytes": "8000000"})
    assert read_topic(broker.bootstrap, prefix) == []


def test_topics_are_neither_made_twice_nor_by_accident(broker: Broker, prefix: str):
    with pytest.raises(AssertionError, match="does not exist"):
        read_topic(broker.bootstrap, prefix)
    create_topics(broker.bootstrap, {prefix: 1})
    with pytest.raises(TopicAlreadyExistsError):
        create_topics(broker.bootstrap, {prefix: 1})


def test_waiting_in_vain_says_for_what():
    with pytest.raises(AssertionError, match=r"waited 0\.1 s for Godot"):
        wait_until(lambda: False, "Godot", timeout_s=0.1)
