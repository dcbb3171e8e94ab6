"""Outputs of an epoch, as records of the topics that others read. Every record is bounded before it is sent."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import msgspec
import numpy as np
import xxhash

from consumers.formats.dead_letters import coordinates, dead_letter_record
from consumers.formats.probes import encode_probe
from consumers.formats.verdicts import VERSION, verdict_records
from consumers.kafka.clients import BATCH_BYTES, describe_topics
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.topics import TopicsConfig
from consumers.kafka.transactions import Outgoing
from curatord.errors import ConfigError
from curatord.partition import END_HEADER
from curatord.records import DeadLetter
from curatord.sequence import HEADER_BYTES, EndOfStream, PackedSequence, encode_end, encode_sequence
from state.epoch import Epoch
from state.store import Store

# A segment has at least one token, and beside it 4 + 1 + 4 + 4 + 4 + 4 bytes in columns and a hash of 16.
SEGMENT_BYTES = 37
SECTION_BYTES = 10 * 16


class PackingLimits(Protocol):
    """Limits of the records, from the packer's configuration."""

    @property
    def context_length(self) -> int:
        """Most tokens of a sequence."""

    @property
    def batch_quantum(self) -> int:
        """Sequences that are given out together."""


def max_sequence_bytes(context_length: int) -> int:
    """Size that no record of a sequence exceeds; ids that would make it larger are sent as hashes."""
    return HEADER_BYTES + SECTION_BYTES + context_length * (4 + SEGMENT_BYTES)


def batch_bytes(record_bytes: int) -> int:
    """The max.message.bytes that a topic needs for records up to this size: it counts a batch, packed and framed.

    Must also fit the largest batch of the producer, or the broker rejects it and the client splits it.
    """
    largest = max(record_bytes, BATCH_BYTES)
    return largest + largest // 128 + 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """How sequences, dead letters and verdicts are sent."""

    topics: TopicsConfig
    num_partitions: int  # of the topic of sequences
    tokenizer_digest: int
    vocabulary_size: int
    context_length: int
    batch_quantum: int
    dead_letter_partitions: int
    verdict_partitions: int  # 0: none are sent
    probe_partitions: int = 0  # 0: none are sent

    def records(self, epoch: Epoch, store: Store) -> list[Outgoing]:
        """Everything that the epoch sends, in order."""
        records = []
        for sequence in chain.from_iterable(epoch.sequences):
            if sequence.generation and not sequence.seq_no:
                # A few sequences do not reach every partition, and a reader of the one before waits on all of them.
                records += self._ends(EndOfStream(sequence.generation, 0))
            records.append(self._sequence(sequence))
        if epoch.end is not None:
            records += self._ends(epoch.end)
        records += [self._dead_letter(letter) for letter in epoch.dead_letters]
        records += self._probes(epoch)
        return records + self._verdicts(epoch, store) if self.verdict_partitions else records

    def _sequence(self, sequence: PackedSequence) -> Outgoing:
        value = encode_sequence(sequence, tokenizer_digest=self.tokenizer_digest, vocabulary_size=self.vocabulary_size)
        if len(value) > max_sequence_bytes(self.context_length):
            value = encode_sequence(
                msgspec.structs.replace(sequence, doc_hashes_S16=_hashes(sequence.doc_ids)),
                tokenizer_digest=self.tokenizer_digest,
                vocabulary_size=self.vocabulary_size,
            )
        headers = self._headers(
            sequence.generation, sequence.seq_no, len(sequence.tokens_T), len(sequence.segment_lengths_S)
        )
        return Outgoing(self.topics.sequences, sequence.seq_no % self.num_partitions, value, headers=headers)

    def _headers(self, generation: int, seq_no: int, num_tokens: int, num_segments: int) -> list[tuple[str, bytes]]:
        return [
            ("v", b"1"),
            ("seq_no", b"%d" % seq_no),
            ("n_tok", b"%d" % num_tokens),
            ("n_seg", b"%d" % num_segments),
            ("q", b"%d" % self.batch_quantum),
            ("gen", b"%d" % generation),
        ]

    def _ends(self, end: EndOfStream) -> list[Outgoing]:
        """On every partition, so that a reader of any of them learns of it."""
        value = encode_end(end, context_length=self.context_length, tokenizer_digest=self.tokenizer_digest)
        headers = [*self._headers(end.generation, end.seq_no, 0, 0), (END_HEADER, b"1")]
        return [
            Outgoing(self.topics.sequences, partition, value, headers=headers)
            for partition in range(self.num_partitions)
        ]

    def _dead_letter(self, letter: DeadLetter) -> Outgoing:
        _, partition = coordinates(letter.source)
        key, value, headers = dead_letter_record(letter)
        return Outgoing(self.topics.dead_letters, max(partition, 0) % self.dead_letter_partitions, value, key, headers)

    def _probes(self, epoch: Epoch) -> list[Outgoing]:
        """In turn to all partitions, so that scorers share them."""
        return [
            Outgoing(
                self.topics.probes,
                (epoch.number + place) % self.probe_partitions,
                encode_probe(probe),
                probe.doc_id.encode("utf-8", "surrogatepass"),
            )
            for place, probe in enumerate(epoch.probes if self.probe_partitions else ())
        ]

    def _verdicts(self, epoch: Epoch, store: Store) -> list[Outgoing]:
        headers = [("v", VERSION), ("epoch", b"%d" % epoch.number)]
        place = epoch.number % self.verdict_partitions
        return [
            Outgoing(self.topics.verdicts, place, value, headers=headers) for value in verdict_records(epoch, store)
        ]


def _hashes(doc_ids: tuple[str, ...]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    digests = b"".join(xxhash.xxh3_128_digest(doc_id.encode("utf-8", "surrogatepass")) for doc_id in doc_ids)
    return np.frombuffer(digests, np.uint8).reshape(len(doc_ids), 16)


def open_outputs(
    kafka: KafkaConfig, topics: TopicsConfig, packing: PackingLimits, *, tokenizer_digest: int, vocabulary_size: int
) -> Outputs:
    """The outputs, as their topics are.

    Raises `ConfigError` if one is missing or does not take the largest record, `BrokerUnavailable`.
    """
    names = [topics.sequences, topics.dead_letters, topics.verdicts, topics.probes]
    found = describe_topics(kafka, [name for name in names if name])
    check_limit(found[topics.sequences].max_message_bytes, packing.context_length, topics.sequences)
    return Outputs(
        topics=topics,
        num_partitions=found[topics.sequences].num_partitions,
        tokenizer_digest=tokenizer_digest,
        vocabulary_size=vocabulary_size,
        context_length=packing.context_length,
        batch_quantum=packing.batch_quantum,
        dead_letter_partitions=found[topics.dead_letters].num_partitions,
        verdict_partitions=found[topics.verdicts].num_partitions if topics.verdicts else 0,
        probe_partitions=found[topics.probes].num_partitions if topics.probes else 0,
    )


def check_limit(limit: int, context_length: int, topic: str) -> None:
    """Raise `ConfigError` if a topic does not take the longest record."""
    needed = batch_bytes(max_sequence_bytes(context_length))
    if limit < needed:
        raise ConfigError(
            f"topic {topic} takes batches of {limit:,} bytes, a sequence of {context_length:,} tokens may need "
            f"{needed:,}: raise its max.message.bytes (`curatord topics create` does), or lower packing.context_length"
        )
