"""What a stage that keeps its facts by key reports as changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec


def take_changes(
    changed: set[bytes], written: set[bytes], fact_of: Callable[[bytes], msgspec.Struct | None]
) -> Iterator[tuple[bytes, bytes | None]]:
    """The facts under the keys that `changed`, in order; a key that came and went in between is none.

    Nothing is `changed` afterwards, and `written` holds the keys that have a fact.
    """
    keys = sorted(changed)
    changed.clear()
    for key in keys:
        fact = fact_of(key)
        if fact is not None:
            written.add(key)
            yield key, msgspec.msgpack.encode(fact)
        elif key in written:
            written.remove(key)
            yield key, None
