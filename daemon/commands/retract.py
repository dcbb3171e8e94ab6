"""`curatord retract` for a service: a key without a value, on the topic of documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from consumers.kafka.clients import connected_producer
from curatord.errors import BrokerUnavailable
from daemon.commands.screen import show
from daemon.config import load_config


def send_retractions(doc_ids: Sequence[str], config_path: Path | None) -> None:
    """Send one for each id. Raises `BrokerUnavailable` if it is not sure that they arrived."""
    config = load_config(config_path)
    producer = connected_producer(config.kafka)
    try:
        futures = [producer.send(config.topics.documents, None, key=doc_id.encode()) for doc_id in doc_ids]
        producer.flush(timeout=config.kafka.request_timeout_s)
        failed = next((future for future in futures if not future.succeeded()), None)
    finally:
        producer.close(timeout=2)
    if failed is not None:
        raise BrokerUnavailable(
            f"not every retraction arrived at {config.topics.documents}: {failed.exception}. Send them again: one that "
            "comes twice does no harm"
        )
    show(
        f"{len(doc_ids)} sent to {config.topics.documents}. The service takes them in their turn; then "
        "`curatord explain DOC_ID` says what became of each."
    )
