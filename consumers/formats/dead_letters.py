"""Dead letters: rows that could not be read, as records that an operator can read, count and replay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import msgspec

from consumers.broker import RawDocument
from curatord.errors import Undecodable
from curatord.records import DeadLetter

TRACE_HEADER = "traceparent"
ATTEMPTS_HEADER = "curatord.attempts"
REASON_HEADER = "curatord.reason"
INDEX_HEADER = "curatord.index"
TRUNCATED_HEADER = "curatord.truncated"
TIMESTAMP_HEADER = "curatord.timestamp_us"
MESSAGE_HEADER = "__streams.errors.message"
TOPIC_HEADER = "__streams.errors.topic"
PARTITION_HEADER = "__streams.errors.partition"
OFFSET_HEADER = "__streams.errors.offset"
MAX_ORIGINAL_BYTES = 64 << 10
MAX_MESSAGE_CHARACTERS = 1000
MAX_ENVELOPE_BYTES = 16 << 10  # key and headers of a record: the message, names, the trace

Headers = list[tuple[str, bytes]]


class DeadLettersConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[dead_letters]: what is kept of an input that could not be read."""

    max_bytes: Annotated[int, msgspec.Meta(ge=0, le=512 << 10)] = MAX_ORIGINAL_BYTES
    """Bytes of the original carried in a dead letter; its coordinates find the rest. 0 carries none."""


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A letter and where it lies."""

    place: str  # its number in a state, or partition:offset on the topic of dead letters
    timestamp_us: int  # when it was written, or else made; 0 if unknown
    letter: DeadLetter


def dead_letter(error: Undecodable, row: RawDocument, max_bytes: int = MAX_ORIGINAL_BYTES) -> DeadLetter:
    """The bounded record of one failure: the original is cut to `max_bytes`, the message to 1,000 characters."""
    original = row.value if isinstance(row.value, bytes) else row.original
    is_beginning = isinstance(row.value, Undecodable) and not row.value.has_original
    return DeadLetter(
        reason=error.reason,
        message=str(error)[:MAX_MESSAGE_CHARACTERS],
        source=row.source,
        position=row.position,
        index=row.index,
        original=original[:max_bytes],
        truncated=is_beginning or len(original) > max_bytes,
        key=row.key,
        timestamp_us=row.timestamp_us,
        traceparent=row.traceparent,
        attempts=row.attempts,
    )


def dead_letter_record(letter: DeadLetter) -> tuple[bytes | None, bytes, Headers]:
    """Key, value and headers of a letter on its topic: the message as it came, and why it lies here in the headers.

    Six headers are those that Kafka Streams writes (KIP-1034), so that tools for its dead letters read ours. There is
    no stack trace, for nothing in the daemon failed: that header holds reason and index instead.
    """
    topic, partition = coordinates(letter.source)
    headers = [
        ("__streams.errors.exception", b"curatord.errors.Undecodable"),
        (MESSAGE_HEADER, _utf8(f"{letter.reason}: {letter.message}")),
        ("__streams.errors.stacktrace", f"reason={letter.reason} index={letter.index}".encode()),
        (TOPIC_HEADER, topic.encode()),
        (PARTITION_HEADER, b"%d" % partition),
        (OFFSET_HEADER, b"%d" % letter.position),
        (REASON_HEADER, letter.reason.encode()),
        (TRUNCATED_HEADER, b"%d" % letter.truncated),
        (ATTEMPTS_HEADER, b"%d" % letter.attempts),
        (TIMESTAMP_HEADER, b"%d" % letter.timestamp_us),
    ]
    if letter.index is not None:
        headers.append((INDEX_HEADER, b"%d" % letter.index))
    if letter.traceparent:
        headers.append((TRACE_HEADER, letter.traceparent.encode()))
    return letter.key.encode() or None, letter.original, headers


def read_dead_letter(
    key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]
) -> DeadLetter | None:
    """The letter in a record; None if it is none of ours: others may write to the topic too."""
    found = {name: text or b"" for name, text in headers}
    try:
        reason = found[REASON_HEADER].decode()
        return DeadLetter(
            reason=reason,
            message=found[MESSAGE_HEADER].decode().removeprefix(f"{reason}: "),
            source=f"{found[TOPIC_HEADER].decode()}-{int(found[PARTITION_HEADER])}",
            position=int(found[OFFSET_HEADER]),
            index=int(found[INDEX_HEADER]) if INDEX_HEADER in found else None,
            original=value or b"",
            truncated=found[TRUNCATED_HEADER] != b"0",
            key=(key or b"").decode(),
            timestamp_us=int(found[TIMESTAMP_HEADER]),
            traceparent=found.get(TRACE_HEADER, b"").decode(),
            attempts=int(found[ATTEMPTS_HEADER]),
        )
    except (KeyError, ValueError):
        return None


def coordinates(source: str) -> tuple[str, int]:
    """Topic and partition of a source; the source itself and -1 if it is none of a topic.

    >>> coordinates("my-topic-7")
    ('my-topic', 7)
    """
    topic, _, partition = source.rpartition("-")
    return (topic, int(partition)) if topic and partition.isdecimal() else (source, -1)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")
