"""`curatord retract` for a service: a key without a value, on the topic of documents."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from consumers.kafka.clients import connected_producer
from curatord.errors import BrokerUnavailable
from daemon.commands.read_state import opened_for_reading, refuse_unmasked
from daemon.commands.receipt import tell_receipt
from daemon.commands.screen import show
from daemon.config import load_config
from daemon.stages.identify import id_keys
from daemon.stages.mask import ids_as_kept
from state.common_facts import TOMBSTONES

LOOK_S = 1.0


def send_retractions(doc_ids: Sequence[str], config_path: Path | None, *, err: bool = False) -> None:
    """Send one for each id, and say so. Raises `BrokerUnavailable` if it is not sure that they arrived."""
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
        "`curatord explain DOC_ID` says what became of each.",
        err=err,
    )


def send_and_wait(doc_ids: Sequence[str], config_path: Path | None, state: Path, *, as_json: bool) -> None:
    """Send them, wait until the service on this machine took them, and tell the receipt.

    Raises `UsageError` where its state is not on this machine, `BrokerUnavailable`.
    """
    mask = load_config(config_path).mask
    with opened_for_reading(state) as store:
        refuse_unmasked(store, masks=mask.enabled)
    kept_as = ids_as_kept(doc_ids, mask)
    before = _tombstones(kept_as, state)
    send_retractions(doc_ids, config_path, err=as_json)
    while any(now is None or now == then for now, then in zip(_tombstones(kept_as, state), before, strict=True)):
        time.sleep(LOOK_S)
    tell_receipt(kept_as, state, as_json=as_json)


def _tombstones(doc_ids: Sequence[str], state: Path) -> list[int | None]:
    """When each was retracted last, as far as the state knows."""
    with opened_for_reading(state) as store:
        return [TOMBSTONES.get(store, key.tobytes()) for key in id_keys(doc_ids)]
