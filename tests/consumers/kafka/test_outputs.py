"""Outputs: the records of an epoch on the topics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consumers.formats.probes import decode_probe
from consumers.kafka.outputs import Outputs
from consumers.kafka.topics import TopicsConfig
from curatord.partition import END_HEADER
from curatord.records import Probe
from curatord.sequence import EndOfStream, decode_end
from state.epoch import Epoch
from state.store import Store
from tests.curatord.streams import row

PARTITIONS = 4


def make_outputs(**options: Any) -> Outputs:
    return Outputs(
        tokenizer_digest=1,
        vocabulary_size=1000,
        context_length=32,
        batch_quantum=1,
        dead_letter_partitions=1,
        verdict_partitions=0,
        **options,
    )


def test_a_generation_is_marked_on_every_partition_before_its_first_sequence(tmp_path: Path) -> None:
    outputs = make_outputs(topics=TopicsConfig(), num_partitions=PARTITIONS)
    store = Store(tmp_path)
    for generation in (0, 1):
        epoch = Epoch(number=1, identity="", sequences=[[row(n, generation=generation) for n in range(3)]])
        records = outputs.records(epoch, store)
        marks = [record for record in records if END_HEADER in dict(record.headers)]
        assert [mark.partition for mark in marks] == (list(range(PARTITIONS)) if generation else [])
        assert records[: len(marks)] == marks
        assert all(decode_end(mark.value) == EndOfStream(1, 0) for mark in marks)
    store.close()


def test_requests_for_rewards_go_to_all_partitions_in_turn(tmp_path: Path) -> None:
    outputs = make_outputs(topics=TopicsConfig(probes="probes"), num_partitions=1, probe_partitions=2)
    wanted = [Probe(doc_id=f"d{n}", cluster=n, policy_version=0, num_tokens=1, text="t") for n in range(3)]
    epoch = Epoch(number=4, identity="", probes=wanted)
    store = Store(tmp_path)
    records = outputs.records(epoch, store)
    store.close()
    assert [(record.topic, record.partition, record.key) for record in records] == [
        ("probes", 0, b"d0"),
        ("probes", 1, b"d1"),
        ("probes", 0, b"d2"),
    ]
    assert [decode_probe(record.value) for record in records] == wanted
