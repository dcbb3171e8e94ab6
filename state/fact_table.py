"""FactTable: the facts of one kind that a stage keeps in memory, and what changed of them since the last commit.

A stage declares its tables. Everything else walks the list of them: a commit gathers what changed, a restore fills the
tables and then lets each stage derive what else it keeps in memory.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, MutableMapping, ValuesView
from typing import Generic, Protocol, TypeVar, overload

from state.epoch import Epoch
from state.facts import Facts, FactSource, Family

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

RowChange = tuple[bytes, bytes | None]


class FactTable(MutableMapping[K, V], Generic[K, V]):
    """A dict that knows how its rows are facts, and which of them changed.

    A value that is changed in place has to be told of by `touch`. A key that came and went between two commits is no
    change.

    >>> from state.facts import DECIMAL, TEXT, Facts, Family
    >>> table = FactTable(Facts(Family("fruit (doctest)", "a number of fruit"), TEXT, DECIMAL))
    >>> table["pear"], table["fig"] = 2, 3
    >>> del table["fig"]
    >>> table.take_changes()
    [(b'pear', b'2')]
    """

    def __init__(self, facts: Facts[K, V]) -> None:
        self._facts = facts
        self._rows: dict[K, V] = {}
        self._changed: dict[K, bool] = {}  # whether the store has a row of the key, which differs from ours

    @property
    def family(self) -> Family:
        """The family that the facts are of."""
        return self._facts.family

    def _note(self, key: K) -> None:
        if key not in self._changed:
            self._changed[key] = key in self._rows

    def __setitem__(self, key: K, value: V) -> None:
        self._note(key)
        self._rows[key] = value

    def __delitem__(self, key: K) -> None:
        if key not in self._rows:
            raise KeyError(key)
        self._note(key)
        del self._rows[key]

    def touch(self, key: K) -> None:
        """The value under a key was changed in place."""
        if key not in self._rows:
            raise KeyError(key)
        self._note(key)

    def replace(self, rows: Mapping[K, V]) -> None:
        """Become these rows; those that are equal already are no change."""
        for key in [key for key in self._rows if key not in rows]:
            del self[key]
        for key, value in rows.items():
            if key not in self._rows or self._rows[key] != value:
                self[key] = value

    def take_changes(self) -> list[RowChange]:
        """Changes since the last call, in the order of the rows; None where a row is gone."""
        prefix, encode_key, encode = self._facts.prefix, self._facts.key.encode, self._facts.value.encode
        changed = sorted([(prefix + encode_key(key), key, was_stored) for key, was_stored in self._changed.items()])
        self._changed.clear()
        changes: list[RowChange] = []
        for row, key, was_stored in changed:
            if key in self._rows:
                changes.append((row, encode(self._rows[key])))
            elif was_stored:
                changes.append((row, None))
        return changes

    def load(self, committed: FactSource) -> None:
        """Become what is committed."""
        self._rows = dict(self._facts.items(committed))
        self._changed.clear()

    def __getitem__(self, key: K) -> V:
        return self._rows[key]

    @overload
    def get(self, key: K, default: None = None, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V | D, /) -> V | D: ...
    def get(self, key: K, default: V | D | None = None, /) -> V | D | None:
        """The value under a key."""
        return self._rows.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[K]:
        return iter(self._rows)

    def keys(self) -> KeysView[K]:
        """All keys, as a dict has them."""
        return self._rows.keys()

    def values(self) -> ValuesView[V]:
        """All values, as a dict has them."""
        return self._rows.values()

    def items(self) -> ItemsView[K, V]:
        """All rows, as a dict has them."""
        return self._rows.items()


class FactCell(Generic[V]):
    """The one fact of a kind. It has changed if its bytes have; what it is at first is no change."""

    def __init__(self, facts: Facts[None, V], value: V) -> None:
        self._facts = facts
        self.value = value
        self._stored = facts.value.encode(value)

    @property
    def family(self) -> Family:
        """The family that the fact is of."""
        return self._facts.family

    def take_changes(self) -> list[RowChange]:
        """The fact, if it changed since the last call."""
        encoded = self._facts.value.encode(self.value)
        if encoded == self._stored:
            return []
        self._stored = encoded
        return [(self._facts.row(None), encoded)]

    def load(self, committed: FactSource) -> None:
        """Become what is committed, if there is anything."""
        value = committed.get(self.family.name, self._facts.row(None))
        if value is not None:
            self.value, self._stored = self._facts.value.decode(value), value


class Table(Protocol):
    """A table, as commit and restore see it."""

    @property
    def family(self) -> Family:
        """The family that the facts are of."""

    def take_changes(self) -> list[RowChange]:
        """Changes since the last call."""

    def load(self, committed: FactSource) -> None:
        """Become what is committed."""


class FactOwner:
    """A part of the pipeline that owns facts."""

    def tables(self) -> tuple[Table, ...]:
        """The tables that it keeps in memory."""
        return ()

    def before_commit(self) -> None:
        """Bring the tables up to date with what is kept in arrays."""

    def shorten(self, epoch: Epoch) -> None:
        """Give the journal other values than the store, where it can find them elsewhere."""

    def restored(self, committed: FactSource) -> None:
        """The tables were loaded: derive everything else."""


def gather_changes(stages: Iterable[FactOwner], epoch: Epoch) -> None:
    """Everything that the stages changed becomes part of the epoch."""
    for stage in stages:
        stage.before_commit()
        for table in stage.tables():
            epoch.extend(table.family.name, table.take_changes())
        stage.shorten(epoch)


def restore_stages(stages: Iterable[FactOwner], committed: FactSource) -> None:
    """Bring fresh stages to what is committed."""
    for stage in stages:
        for table in stage.tables():
            table.load(committed)
        stage.restored(committed)
