"""What could not be read, made into records that an operator can read, count and replay."""

from __future__ import annotations

from typing import Annotated

import msgspec

from curatord.errors import Undecodable
from curatord.records import DeadLetter

TRACE_HEADER = "traceparent"
ATTEMPTS_HEADER = "curatord.attempts"
MAX_ORIGINAL_BYTES = 64 << 10
MAX_MESSAGE_CHARACTERS = 1000


class DeadLettersConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[dead_letters]: what is kept of an input that could not be read."""

    max_bytes: Annotated[int, msgspec.Meta(ge=0, le=512 << 10)] = MAX_ORIGINAL_BYTES
    """Bytes of the original carried in a dead letter; its coordinates find the rest. 0 carries none."""


def dead_letter(
    error: Undecodable,
    source: str,
    position: int,
    original: bytes = b"",
    max_bytes: int = MAX_ORIGINAL_BYTES,
    *,
    index: int | None = None,
    cut: bool = False,
    key: str = "",
    traceparent: str = "",
    attempts: int = 0,
) -> DeadLetter:
    """The bounded record of one failure: `original` is cut to `max_bytes`, the message to 1,000 characters.

    `cut` says that `original` already is no more than the beginning.
    """
    return DeadLetter(
        reason=error.reason,
        message=str(error)[:MAX_MESSAGE_CHARACTERS],
        source=source,
        position=position,
        index=index,
        original=original[:max_bytes],
        truncated=cut or len(original) > max_bytes,
        key=key,
        traceparent=traceparent,
        attempts=attempts,
    )


def error_headers(letter: DeadLetter, *, topic: str, partition: int) -> list[tuple[str, bytes]]:
    """The six headers that Kafka Streams writes (KIP-1034), so that tools for its dead letters read ours.

    There is no stack trace, for nothing in the daemon failed: that header holds reason and index instead.
    """
    headers = [
        ("__streams.errors.exception", b"curatord.errors.Undecodable"),
        ("__streams.errors.message", f"{letter.reason}: {letter.message}".encode()),
        ("__streams.errors.stacktrace", f"reason={letter.reason} index={letter.index}".encode()),
        ("__streams.errors.topic", topic.encode()),
        ("__streams.errors.partition", str(partition).encode()),
        ("__streams.errors.offset", str(letter.position).encode()),
    ]
    return [*headers, ("traceparent", letter.traceparent.encode())] if letter.traceparent else headers
