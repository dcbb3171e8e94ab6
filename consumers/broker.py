"""The one seam to the world, by role: an inbox gives documents, a committer takes epochs, a lane has one owner.

`kafka` and `memory` play all roles, `files` those of a `Broker`. The pipeline may rely on this:

- `poll` gives rows in an order that a later start continues exactly after the last committed position;
- `commit` is all or nothing: outputs, facts and positions of an epoch become visible together, or not at all, and
  when it returns they are also in the store. Nothing is rolled back in memory: if it raises, the process ends, but
  for `BrokerUnavailable`, after which the same epoch may be committed again, once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import msgspec

from consumers.attempts import Attempts
from consumers.formats.columns import TableRow
from consumers.formats.pages import Page
from curatord.errors import Undecodable
from curatord.records import Document, Retraction
from state.epoch import Change, Committed, Epoch

# A poll ends once its rows are this much together: many documents that are each within max_document_bytes, in a packed
# file or in messages that unpack to much, would else be gigabytes at once.
MAX_POLL_BYTES = 64 << 20


class Ownership(Enum):
    """Whether this process may commit."""

    OWNER = "owner"
    STANDBY = "standby"
    LOST = "lost"


class MessagePlace(msgspec.Struct, frozen=True, gc=False):
    """Where a prepared message lies: its topic partition, and the offset of its first record."""

    source: str
    offset: int


class PreparedRow(msgspec.Struct, frozen=True, gc=False):
    """A row that was decoded, and measured as far as it can be by itself, before it came here."""

    batch: Any  # a pyarrow.RecordBatch of `consumers.formats.prepared`, which its rows share
    row: int
    num_bytes: int  # of the text, or of what could not be read
    message: MessagePlace | None = None  # that holds the batch, and lasts


class RawDocument(msgspec.Struct, frozen=True, gc=False):
    """One row of the input, decoded or not: JSON as it came, or a row that a columnar file gave whole.

    A Struct, since one is made for every document: 0.1 µs, a tenth of what a frozen dataclass takes.
    """

    source: str  # the input it came from: a file, a topic partition
    position: int  # its place there
    value: bytes | Document | Retraction | Undecodable | PreparedRow | TableRow
    original: bytes = b""  # beginning of what could not be read, where it is at hand
    index: int | None = None  # place in a message that holds many
    key: str = ""  # of the message, and the id of a document that has none of its own
    timestamp_us: int = 0  # when the message was made, microseconds since 1970 UTC; 0 if unknown
    traceparent: str = ""  # W3C trace context
    attempts: int = 0  # how often it was a dead letter and replayed before


def row_bytes(row: RawDocument) -> int:
    """Bytes of a row, about."""
    value = row.value
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, (PreparedRow, TableRow)):
        return value.num_bytes
    if isinstance(value, Page):
        return len(value.content)
    return len(value.text) if isinstance(value, Document) else 0


@dataclass(frozen=True, slots=True)
class RawFeedback:
    """One message of a trainer or a scorer."""

    source: str  # the topic partition it came from
    position: int  # its place there
    value: bytes | None
    problem: Undecodable | None = None  # why it is not to be read


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRecord:
    """The facts of one committed epoch."""

    epoch: int
    identity: str
    changes: tuple[Change, ...]
    next_offset: int  # where the journal goes on


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitReport:
    """The cost of a commit."""

    transaction_s: float = 0.0
    journal_bytes: int = 0
    num_repeated: int = 0  # prepared rows that came again since the commit before


class Inbox(Protocol):
    """Documents and feedback, as they come in."""

    @property
    def attempts(self) -> Attempts:
        """Earlier lives that ended over rows: a poll gives rows of one number of ends only, and begins them."""

    def poll(self, max_rows: int, timeout_s: float) -> list[RawDocument]:
        """The next rows, at most `max_rows`; none after `timeout_s`, or when the input has ended."""

    def feedback(self, max_records: int) -> list[RawFeedback]:
        """The next messages of trainers and scorers that are at hand, at most `max_records`; never waits.

        As for rows, a later start continues after the last committed position of their source.
        """

    def passed(self) -> dict[str, int]:
        """Positions of inputs and feedback that are ahead of the committed ones without a row between.

        Markers of transactions, aborted and compacted records lie there, which no reader is given.
        """

    def ended(self) -> bool:
        """Every row there will ever be was polled. A topic never ends."""


class Committer(Protocol):
    """The place where an epoch becomes visible and durable."""

    @property
    def last_commit(self) -> CommitReport:
        """The cost of the last commit."""

    def complete(self, epoch: Epoch) -> None:
        """Add what this side has to remember with the epoch, which changes no more; once, before `commit`."""

    def commit(self, epoch: Epoch) -> None:
        """Make a complete epoch visible and durable.

        Over files and in memory on any thread, while rows of the next epoch are polled; one at a time, in order.
        After `BrokerUnavailable` it may be called again, with the same epoch: it is committed once.
        """

    def committed(self) -> Committed | None:
        """The last epoch that is committed; None before the first."""


class Broker(Inbox, Committer, Protocol):
    """Both ends of a run: rows come in, epochs go out."""


class Journal(Protocol):
    """The facts of every epoch in the order of their commits, for processes that have not got them."""

    def journal(self, *, from_offset: int, follow: bool) -> Iterator[JournalRecord | None]:
        """The epochs from an offset of the journal on, oldest first, to the last one that is committed.

        With `follow` until this process owns the lane. None now and then while there is nothing new.
        Raises `JournalUnusable` if the journal was cut behind this offset.
        """

    def cut_journal(self, *, before_offset: int) -> None:
        """Delete the journal before an offset, as `JournalRecord.next_offset` counts them.

        Raises `BrokerUnavailable`.
        """


class Lane(Journal, Protocol):
    """The lane that processes stand by for, one of which owns it."""

    def join(self) -> None:
        """Ask to own the lane."""

    def take_over(self) -> Committed | None:
        """Become the one process that may commit, and learn of the last epoch. From now on no other process commits.

        Raises `BrokerUnavailable`, after which it may be called again; `LaneLost`.
        """

    def keep_alive(self) -> None:
        """Keep the membership during long work. Raises `BrokerUnavailable`, `LaneLost`."""

    def lag(self) -> dict[str, int]:
        """Messages that wait, by input. Raises `BrokerUnavailable`."""

    def prepared_message(self, source: str, offset: int) -> bytes:
        """A prepared message that was read before. Raises `StateError` if it is gone, `BrokerUnavailable`."""

    def retained_places(self, sources: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Of these sources of prepared messages: the first offset that is there, and the first that is safe for long.

        Raises `BrokerUnavailable`.
        """

    def retained_from(self, generation: int, next_seq_no: int) -> int | None:
        """The oldest sequence of a generation that is still retained with no gap up to `next_seq_no`.

        None where nothing is ever cut. Raises `BrokerUnavailable`, `CorruptSequence`.
        """


class LaneBroker(Broker, Lane, Protocol):
    """The inputs, the outputs and the lane of a service."""
