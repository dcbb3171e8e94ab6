"""The facts of an epoch come back from the records made of them, in parts that brokers take."""

from __future__ import annotations

import random

from consumers.kafka.connection import KafkaConfig
from consumers.kafka.journal_writer import JournalWriter
from consumers.kafka.topics import TopicsConfig
from state.epoch import Epoch
from state.journal import PART_BYTES, decode_changes


def test_facts_come_back_from_records_that_say_their_part() -> None:
    epoch = Epoch(number=7, identity="{}", positions={"documents-0": 12})
    epoch.put("held", b"large", random.Random(0).randbytes(PART_BYTES + 1000))
    epoch.delete("held", b"gone")
    writer = JournalWriter(KafkaConfig(), TopicsConfig(journal="my-journal"))

    records = writer.records(epoch)

    assert [(record.topic, record.partition) for record in records] == [("my-journal", 0)] * 2
    assert decode_changes([record.value or b"" for record in records]) == list(epoch.changes())
    headers = [dict(record.headers) for record in records]
    assert [found["part"] for found in headers] == [b"0", b"1"]
    for found in headers:
        assert (found["epoch"], found["parts"], found["identity"]) == (b"7", b"2", b"{}")
        assert found["positions"] == b'{"documents-0":12}'
    writer.close()


def test_an_epoch_without_facts_has_a_record_all_the_same() -> None:
    (record,) = JournalWriter(KafkaConfig(), TopicsConfig()).records(Epoch(number=1, identity="{}"))
    assert decode_changes([record.value or b""]) == []
