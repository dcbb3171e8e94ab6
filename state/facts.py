"""Facts: what the state is made of. A kind of facts is declared once, by its owner, and known to all readers by that.

A fact is (family, key, value) in bytes. A family is a column family of the store, with a sentence for people. Kinds of
facts that belong together share a family, and a prefix tells their keys apart.

    PIECES = Facts(PACKING, NUMBER, packed(Piece), prefix=b"p")
    PIECES.put(epoch, 7, piece)          # facts that are read from the store when they are needed
    FactTable(PIECES)                    # facts that are kept in memory (state/fact_table.py)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import msgspec

from state.epoch import META, Change, Epoch

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

_families: dict[str, Family] = {}


@dataclass(frozen=True, slots=True)
class Family:
    """A column family, and what one fact in it is, for people."""

    name: str
    sentence: str

    def __post_init__(self) -> None:
        if _families.setdefault(self.name, self) != self:
            raise ValueError(f"two families are called {self.name}")


def declared_families() -> Mapping[str, Family]:
    """The families of all modules that are imported, by name."""
    return _families


class FactSource(Protocol):
    """Committed facts, as `Store` has them."""

    def get(self, family: str, key: bytes) -> bytes | None:
        """One fact."""

    def items(self, family: str, prefix: bytes = b"", start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """The facts whose keys begin so and are not below `start`, in the order of their keys."""

    def at_or_before(self, family: str, key: bytes) -> tuple[bytes, bytes] | None:
        """The fact with the last key that is not above `key`."""


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """Values as bytes. Keys are sorted as their bytes are."""

    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]


_OFFSET = 1 << 63


def _encode_number(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _decode_number(value: bytes) -> int:
    return int.from_bytes(value, "big")


NOTHING: Codec[None] = Codec(lambda nothing: b"", lambda value: None)
RAW: Codec[bytes] = Codec(bytes, bytes)
TEXT: Codec[str] = Codec(
    lambda text: text.encode("utf-8", "surrogatepass"), lambda value: value.decode("utf-8", "surrogatepass")
)
NUMBER: Codec[int] = Codec(_encode_number, _decode_number)
SIGNED: Codec[int] = Codec(
    lambda number: _encode_number(number + _OFFSET), lambda value: _decode_number(value) - _OFFSET
)
NUMBERS: Codec[tuple[int, int]] = Codec(
    lambda pair: _encode_number(pair[0]) + _encode_number(pair[1]),
    lambda value: (_decode_number(value[:8]), _decode_number(value[8:])),
)
DECIMAL: Codec[int] = Codec(lambda number: b"%d" % number, int)


def packed(kind: type[T]) -> Codec[T]:
    """A value in MessagePack."""
    return Codec(msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(kind).decode)


@dataclass(frozen=True, slots=True)
class Facts(Generic[K, V]):
    """A kind of facts: its family, and how its keys and values are bytes.

    No prefix of a family is the beginning of another.
    """

    family: Family
    key: Codec[K]
    value: Codec[V]
    prefix: bytes = b""

    def row(self, key: K) -> bytes:
        """The key in the store."""
        return self.prefix + self.key.encode(key)

    def _key_of(self, row: bytes) -> K:
        return self.key.decode(row[len(self.prefix) :])

    def put(self, epoch: Epoch, key: K, value: V) -> None:
        """Set one fact with this epoch."""
        epoch.put(self.family.name, self.row(key), self.value.encode(value))

    def delete(self, epoch: Epoch, key: K) -> None:
        """Remove one fact with this epoch."""
        epoch.delete(self.family.name, self.row(key))

    def get(self, committed: FactSource, key: K) -> V | None:
        """One committed fact."""
        value = committed.get(self.family.name, self.row(key))
        return None if value is None else self.value.decode(value)

    def items(self, committed: FactSource, first: K | None = None) -> Iterator[tuple[K, V]]:
        """All committed facts, or those from a key on, in the order of their keys as bytes."""
        start = b"" if first is None else self.row(first)
        for row, value in committed.items(self.family.name, self.prefix, start):
            yield self._key_of(row), self.value.decode(value)

    def keys(self, committed: FactSource) -> Iterator[K]:
        """The keys of all committed facts."""
        return (self._key_of(row) for row, _ in committed.items(self.family.name, self.prefix))

    def changed(self, changes: Iterable[Change]) -> Iterator[tuple[K, V | None]]:
        """Those of this kind among the changes of an epoch."""
        for family, row, value in changes:
            if family == self.family.name and row.startswith(self.prefix):
                yield self._key_of(row), None if value is None else self.value.decode(value)

    def opened(self, epoch: Epoch, key: K) -> V | None:
        """One fact that the open epoch sets, or the one that is being committed."""
        row = self.row(key)
        for rows in epoch.unwritten(self.family.name):
            if row in rows:
                value = rows[row]
                return None if value is None else self.value.decode(value)
        return None

    def at_or_before(self, committed: FactSource, epoch: Epoch, key: K) -> tuple[K, V] | None:
        """The fact with the last key that is not above `key`: not written yet, or committed.

        For facts that stand for a range, under the first of it, and are never deleted.
        """
        row = self.row(key)
        found = committed.at_or_before(self.family.name, row)
        for rows in reversed(epoch.unwritten(self.family.name)):
            opened = max((other for other in rows if other <= row), default=None)
            if opened is not None and (found is None or found[0] <= opened):
                value = rows[opened]
                assert value is not None
                found = opened, value
        if found is None or not found[0].startswith(self.prefix):
            return None
        return self._key_of(found[0]), self.value.decode(found[1])


WHOLE = Family(META, "a number of the whole state or of a stage: epoch, format, identity, counters")


def single(name: str, value: Codec[V]) -> Facts[None, V]:
    """A fact of which there is one, by its name."""
    return Facts(WHOLE, NOTHING, value, prefix=name.encode())
