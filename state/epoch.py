"""Epoch: everything that one commit changes, gathered while its documents are decided.

Facts are (family, key, value); a family is a RocksDB column family. During an epoch stages read *overlay, then
store* and write here only. In-memory indices are never rolled back: an epoch that cannot commit ends the process.

An epoch that is complete is handed over to be committed, perhaps on another thread, while the next is computed. Nothing
in it changes from then on: its facts are bytes, its outputs its own. The next epoch has its facts as an
overlay, for the store may not have them yet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from curatord.records import DeadLetter, Probe
from curatord.sequence import EndOfStream, PackedSequence
from state.tally import Tally

META = "meta"  # family of the facts of which there is one each

Change = tuple[str, bytes, bytes | None]
FactRows = Mapping[bytes, bytes | None]  # of one family, by key; None where one is removed


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """How far the world, or the store, has come."""

    epoch: int
    identity: str
    journal_end: int = 0  # offset at which the journal goes on; 0 where there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdout:
    """A document that is kept away from training."""

    number: int
    doc_id: str
    source: str
    url: str
    text: str


class VerdictRow(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """The verdict on a document, for others to read; NaN where nothing was measured."""

    doc_id: str
    input: str
    position: int
    source: str
    outcome: str
    stage: str
    reason: str
    value: float
    threshold: float
    match: int  # number of the earlier document; -1 without
    num_bytes: int
    num_tokens: int
    quality: float
    language: str
    text: str | None  # of what was dropped


@dataclass(frozen=True, slots=True)
class VerdictShard:
    """Consecutive rows that become a file; `first` is the number of the first."""

    first: int
    rows: list[VerdictRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalSurge:
    """A source lost far more documents than usual."""

    source: str
    rate: float  # share removed in the window that just closed
    usual_rate: float  # share removed in its windows before


@dataclass(slots=True, kw_only=True)
class Epoch:
    """The changes of one commit: facts, outputs and how far the inputs were read."""

    number: int
    identity: str
    facts: dict[str, dict[bytes, bytes | None]] = field(default_factory=lambda: defaultdict(dict))  # by family
    # Values that the journal has in place of those of the store, by family and key: what it may read elsewhere.
    journalled: dict[str, dict[bytes, bytes]] = field(default_factory=lambda: defaultdict(dict))
    positions: dict[str, int] = field(default_factory=dict)  # input name -> next position to read
    sequences: list[list[PackedSequence]] = field(default_factory=list)  # whole blocks
    end: EndOfStream | None = None  # the stream ends with these sequences, for now
    holdouts: list[list[Holdout]] = field(default_factory=list)  # whole shards
    verdicts: list[VerdictShard] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)  # documents for which rewards are wanted
    num_rows: int = 0  # input rows read
    tallies: dict[str, Tally] = field(default_factory=dict)  # input name -> what became of its rows
    surges: list[RemovalSurge] = field(default_factory=list)  # sources that lost far more documents than usual
    preceding: Mapping[str, FactRows] = field(default_factory=dict)  # facts of the epoch that is being committed

    def unwritten(self, family: str) -> tuple[FactRows, ...]:
        """Changes of a family that the store may not have yet, the newest first."""
        return tuple(facts[family] for facts in (self.facts, self.preceding) if family in facts)

    def put(self, family: str, key: bytes, value: bytes) -> None:
        """Set one fact."""
        self.facts[family][key] = value

    def delete(self, family: str, key: bytes) -> None:
        """Remove one fact."""
        self.facts[family][key] = None

    def extend(self, family: str, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Set and remove facts of one family; None removes."""
        self.facts[family].update(changes)

    def stamp(self) -> None:
        """Number and identity become facts."""
        self.put(META, b"epoch", b"%d" % self.number)
        self.put(META, b"identity", self.identity.encode())

    def changes(self) -> Iterator[Change]:
        """All facts that change, family by family."""
        for family, rows in self.facts.items():
            for key, value in rows.items():
                yield family, key, value

    def journal_changes(self) -> Iterator[Change]:
        """The same for the journal."""
        for family, key, value in self.changes():
            yield family, key, self.journalled[family].get(key, value) if family in self.journalled else value

    def is_empty(self) -> bool:
        """Nothing was read or passed, and nothing changed."""
        return not self.num_rows and not self.positions and not any(self.facts.values())
