"""Epoch: everything that one commit changes, gathered while its documents are decided.

Facts are (family, key, value); a family is a RocksDB column family. During an epoch stages read *overlay, then
store* and write here only. In-memory indices are never rolled back: an epoch that cannot commit ends the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from curatord.records import DeadLetter
from curatord.sequence import EndOfStream, PackedSequence
from state.tally import Tally

FAMILIES = (
    "meta",  # epoch number, format, identity, counters: one row each
    "inputs",  # input name -> position after the last row read
    "documents",  # first doc_no of a segment -> columns of its documents: ids, digests, decisions
    "retracted",  # doc_no -> when and why a document was taken back
    "tombstones",  # id hash -> retraction of a document not seen yet
    "held",  # ids and tokens of documents that are held, in segments; what their tick said of them
    "guard",  # near dedup: removal rate of each source
    "embedding",  # the student table, in parts
    "retraining",  # what it is trained on, and whether it still knows the stream
    "clusters",
    "bandit",
    "feedback",  # what trainers and scorers said, until the next tick and beyond
    "safe_points",  # training run -> from where on it may still read
    "assignments",  # first doc_no of a tick -> cluster of each of its documents
    "mixture",
    "packing",
    "placements",  # first seq_no of a block -> where each of its pieces came from
    "holdout",  # held-out documents whose shard is not full
    "dead_letters",  # number -> DeadLetter
)

Change = tuple[str, bytes, bytes | None]


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


@dataclass(slots=True, kw_only=True)
class Epoch:
    """The changes of one commit: facts, outputs and how far the inputs were read."""

    number: int
    identity: str
    facts: dict[str, dict[bytes, bytes | None]] = field(default_factory=lambda: {name: {} for name in FAMILIES})
    positions: dict[str, int] = field(default_factory=dict)  # input name -> next position to read
    sequences: list[list[PackedSequence]] = field(default_factory=list)  # whole blocks
    end: EndOfStream | None = None  # the stream ends with these sequences, for now
    holdouts: list[list[Holdout]] = field(default_factory=list)  # whole shards
    dead_letters: list[DeadLetter] = field(default_factory=list)
    num_rows: int = 0  # input rows read
    tallies: dict[str, Tally] = field(default_factory=dict)  # input name -> what became of its rows

    def put(self, family: str, key: bytes, value: bytes) -> None:
        """Set one fact."""
        self.facts[family][key] = value

    def delete(self, family: str, key: bytes) -> None:
        """Remove one fact."""
        self.facts[family][key] = None

    def extend(self, family: str, changes: Iterator[tuple[bytes, bytes | None]]) -> None:
        """Take over what a stage reports as changed."""
        self.facts[family].update(changes)

    def changes(self) -> Iterator[Change]:
        """All facts that change, family by family."""
        for family, rows in self.facts.items():
            for key, value in rows.items():
                yield family, key, value

    def is_empty(self) -> bool:
        """Nothing was read or passed, and nothing changed."""
        return not self.num_rows and not self.positions and not any(self.facts.values())
