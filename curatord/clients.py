"""Clients of kafka-python that leave nothing behind where they cannot be opened."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")

RECONNECT_MS = 1000  # a broker that comes back is found within a second, not within 30 as the client has it


def open_client(kind: type[T], **options: Any) -> T:
    """A KafkaConsumer, KafkaAdminClient or KafkaProducer. Raises as its constructor does.

    The constructors of the first two start a thread and then look for a broker (kafka-python 3.0.12). Where none lets
    them in they raise, and the thread goes on looking, and logging, for as long as the process lives.
    """
    client = kind.__new__(kind)
    try:
        client.__init__(**{"reconnect_backoff_max_ms": RECONNECT_MS, **options})  # type: ignore[misc]
    except BaseException:
        loop = getattr(client, "_net", None)
        if loop is not None:
            loop.stop()
        raise
    return client
