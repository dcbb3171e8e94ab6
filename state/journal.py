"""Journal: the facts of one epoch as bytes, in parts small enough for any broker, and back.

A record is zstd(msgpack of [family, key, value | None | artifact]). Large values of a few families are not repeated in
it: they lie in the topic of artifacts, and the record names where, and the digest that they must have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import msgspec
import zstandard

from curatord.errors import JournalUnusable
from state.epoch import Change
from state.store import Store

# With its headers within the 1,048,588 bytes that a broker takes unless told otherwise; few, as one follows another.
PART_BYTES = 900_000
_POSITION = ("meta", b"journal")  # in the store alone: where the journal goes on after the store's epoch
# Level 3 with tables that stay in the first caches, for most of a record are signatures, in which nothing is found:
# half its time, and as small; without workers, where tokens are in it, 2 % larger.
_PACKING = zstandard.ZstdCompressionParameters(
    window_log=21, chain_log=14, hash_log=15, search_log=1, min_match=5, strategy=zstandard.STRATEGY_DFAST
)


class Artifact(msgspec.Struct, frozen=True, array_like=True):
    """A value that lies in the topic of artifacts."""

    offsets: tuple[int, ...]  # of its chunks
    digest: bytes  # xxh3_128 of the whole


JournalledChange = tuple[str, bytes, bytes | Artifact | None]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[str, bytes, bytes | Artifact | None]]).decode


def encode_changes(changes: Iterable[JournalledChange]) -> list[bytes]:
    """The changes in parts of at most `PART_BYTES`; at least one."""
    value = zstandard.ZstdCompressor(compression_params=_PACKING).compress(_encode(list(changes)))
    return [value[start : start + PART_BYTES] for start in range(0, max(1, len(value)), PART_BYTES)]


def decode_changes(parts: Sequence[bytes]) -> list[JournalledChange]:
    """The changes that `encode_changes` was given.

    Raises `JournalUnusable` if the parts are damaged.

    >>> decode_changes(encode_changes([("meta", b"epoch", b"1"), ("held", b"x", None)]))
    [('meta', b'epoch', b'1'), ('held', b'x', None)]
    """
    try:
        return _decode(zstandard.ZstdDecompressor().decompress(b"".join(parts)))
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise JournalUnusable(f"a record of the journal cannot be read: {error}") from error


def resolved(changes: Iterable[JournalledChange], fetch: Callable[[Artifact], bytes]) -> tuple[Change, ...]:
    """The changes with every artifact fetched."""
    return tuple(
        (family, key, fetch(value) if isinstance(value, Artifact) else value) for family, key, value in changes
    )


def journal_position(store: Store) -> int:
    """Offset at which the journal goes on after the store's epoch."""
    return int(store.get(*_POSITION) or 0)


def apply_journalled(store: Store, changes: Iterable[Change], next_offset: int) -> None:
    """Take an epoch of the journal into the store, which is a cache of it, and note where the journal goes on."""
    position: Change = (*_POSITION, str(next_offset).encode())
    store.apply(chain(changes, [position]), durable=False)
