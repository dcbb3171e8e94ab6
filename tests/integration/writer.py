"""A writer of sequences, in transactions, as the daemon writes them."""

from __future__ import annotations

from collections.abc import Sequence

from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from curatord.sequence import EndOfStream, encode_end, encode_sequence
from tests.curatord.streams import CONTEXT, DIGEST, row

PARTITIONS = 4


class Writer:
    """Writes sequences in transactions, as the daemon does."""

    def __init__(self, bootstrap: str, topic: str, quantum: int = 1) -> None:
        self._topic, self._quantum = topic, quantum
        self._producer = KafkaProducer(
            bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, transactional_id=f"{topic}-writer"
        )
        self._producer.init_transactions()

    def write(
        self,
        seq_nos: Sequence[int],
        *,
        generation: int = 0,
        context: int = CONTEXT,
        end: int | None = None,
        abort: bool = False,
    ) -> None:
        """One transaction; with `end`, the mark of the end behind it."""
        self._producer.begin_transaction()
        for seq_no in seq_nos:
            value = encode_sequence(
                row(seq_no, generation=generation, context=context), tokenizer_digest=DIGEST, vocabulary_size=1000
            )
            self._send(seq_no, seq_no % PARTITIONS, generation, value)
        for partition in range(PARTITIONS) if end is not None else ():
            mark = encode_end(EndOfStream(generation, end), context_length=context, tokenizer_digest=DIGEST)
            self._send(end, partition, generation, mark, [("end", b"1")])
        self._producer.flush()
        if abort:
            self._producer.abort_transaction()
        else:
            self._producer.commit_transaction()

    def _send(
        self, seq_no: int, partition: int, generation: int, value: bytes, more: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        headers = [("v", b"1"), ("seq_no", b"%d" % seq_no), ("q", b"%d" % self._quantum), ("gen", b"%d" % generation)]
        self._producer.send(self._topic, value, partition=partition, headers=[*headers, *more])

    def close(self) -> None:
        self._producer.close(timeout=5)


def delete_before(bootstrap: str, topic: str, offsets: dict[int, int]) -> None:
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        admin.delete_records({TopicPartition(topic, number): offset for number, offset in offsets.items()})
