"""One text that is slow to read stops no service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consumers.kafka.connection import KafkaConfig
from tests.integration.audit import replay
from tests.integration.broker import Broker
from tests.integration.lane import Instance, Lane
from tests.integration.torture import SETTINGS
from tests.integration.world import produce_documents, read_sequences, read_topic
from tests.simulation.world import make_rows


@pytest.fixture
def lane(broker: Broker, prefix: str, tmp_path: Path) -> Lane:
    settings = SETTINGS.replace("max_wait_s = 45.0", "max_wait_s = 4.0")
    lane = Lane(broker.bootstrap, prefix, tmp_path, settings, session_timeout_s=KafkaConfig().session_timeout_s)
    lane.create_topics()
    return lane


def test_a_text_of_marks_is_decided_in_one_life_at_the_default_session_timeout(lane: Lane, instance: Instance) -> None:
    documents = [row.value for row in make_rows(8, 300) if isinstance(row.value, bytes)]
    marks = {"id": "marks", "text": "a" + "\u0301\u0327" * 50_000}
    rows = [*documents[:150], json.dumps(marks, ensure_ascii=False).encode(), *documents[150:]]
    instance.start()
    instance.wait_for("restored")
    produce_documents(lane.bootstrap, lane.topics["documents"], rows, partition=0)
    instance.wait_for("idle_flushed")
    assert instance.stop() == 0

    ledger = replay(read_topic(lane.bootstrap, lane.topics["journal"])).ledger
    sequences = read_sequences(lane.bootstrap, lane.topics["sequences"])
    assert len(instance.events("started")) == 1
    assert ledger.rows_read == len(rows)
    assert "marks" in {doc_id for sequence in sequences for doc_id in sequence.doc_ids}
