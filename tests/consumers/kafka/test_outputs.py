"""Outputs: the records of an epoch on the topics."""

from __future__ import annotations

from pathlib import Path

from consumers.kafka.outputs import Outputs
from consumers.kafka.topics import TopicsConfig
from curatord.partition import END_HEADER
from curatord.sequence import EndOfStream, decode_end
from state.epoch import Epoch
from state.store import Store
from tests.curatord.streams import row

PARTITIONS = 4


def test_a_generation_is_marked_on_every_partition_before_its_first_sequence(tmp_path: Path) -> None:
    outputs = Outputs(
        topics=TopicsConfig(),
        num_partitions=PARTITIONS,
        tokenizer_digest=1,
        vocabulary_size=1000,
        context_length=32,
        batch_quantum=1,
        dead_letter_partitions=1,
        verdict_partitions=0,
    )
    store = Store(tmp_path)
    for generation in (0, 1):
        epoch = Epoch(number=1, identity="", sequences=[[row(n, generation=generation) for n in range(3)]])
        records = outputs.records(epoch, store)
        marks = [record for record in records if END_HEADER in dict(record.headers)]
        assert [mark.partition for mark in marks] == (list(range(PARTITIONS)) if generation else [])
        assert records[: len(marks)] == marks
        assert all(decode_end(mark.value) == EndOfStream(1, 0) for mark in marks)
    store.close()
