"""Lookup in facts that each stand for a range of numbers, under the key of its first."""

from __future__ import annotations

from state.epoch import Epoch
from state.store import Store


def at_or_before(store: Store, epoch: Epoch, family: str, key: bytes) -> tuple[bytes, bytes] | None:
    """The fact with the last key that is not above `key`: of the open epoch, or committed.

    For families whose facts are never deleted.
    """
    committed = store.at_or_before(family, key)
    opened = max((other for other in epoch.facts[family] if other <= key), default=None)
    if opened is None or (committed is not None and committed[0] > opened):
        return committed
    value = epoch.facts[family][opened]
    assert value is not None
    return opened, value
