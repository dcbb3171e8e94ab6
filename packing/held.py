"""Held documents: id and tokens of accepted documents until their last use is emitted.

Ticks, balance buffers, pool and rows pass documents on by number; the tokens stay here. Each of them that has a
document is a holder; the document goes when the last one lets go. Documents that were accepted together share a
segment: one fact, one array. A segment of which little is left is copied together with others, so that a few
long-waiting documents do not pin the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from ops.readings import Gauges
from state.token_arrays import TokenArrays, Tokens

# A segment is rewritten when less than this share of its documents is still held.
COMPACT_BELOW = 0.25

SEGMENT_PREFIX = b"d"
SAMPLED_PREFIX = b"s"  # sorts after the segments


class HeldSegment(msgspec.Struct, frozen=True, array_like=True):
    """Fact: documents that were accepted together."""

    doc_nos: list[int]
    ids: list[str]
    tokens: TokenArrays


class Sampled(msgspec.Struct, frozen=True, array_like=True):
    """Fact: what a document's tick said of it, while a balance buffer holds it."""

    cluster: int
    policy_version: int
    propensity: float
    vector: bytes = b""  # f32, where it cannot be computed again


@dataclass(slots=True)
class Held:
    """One document. `unemitted` counts the tokens of its first use that no row has taken out yet."""

    doc_id: str
    tokens: Tokens
    segment: int
    holders: int = 1
    unemitted: int = 0
    sampled: Sampled | None = None


class HeldDocuments:
    """Documents by number."""

    def __init__(self) -> None:
        self._documents: dict[int, Held] = {}
        self._segments: dict[int, dict[int, None]] = {}  # segment -> its documents that are still held, in order
        self._sizes: dict[int, int] = {}  # segment -> its documents when it was written
        self._next_segment = 0
        self._changed: set[int] = set()
        self._stored: set[int] = set()  # segments that are facts
        self._sampled: dict[int, bool] = {}  # documents with a `Sampled` fact -> whether it is written already
        self._unsampled: list[int] = []  # of those, documents that are gone

    def __len__(self) -> int:
        return len(self._documents)

    def measured(self) -> Gauges:
        """The number of documents, by metric."""
        return {"held_documents": len(self)}

    def __contains__(self, doc_no: int) -> bool:
        return doc_no in self._documents

    def __getitem__(self, doc_no: int) -> Held:
        return self._documents[doc_no]

    def numbers(self) -> list[int]:
        """Numbers of all that are held."""
        return list(self._documents)

    def unemitted_tokens(self) -> int:
        """Tokens that were accepted and are still to be emitted for the first time."""
        return sum(document.unemitted for document in self._documents.values())

    def add(self, doc_nos: Sequence[int], ids: Sequence[str], arrays: Sequence[Tokens]) -> None:
        """Documents that were accepted together, one holder each: the tick that they wait for."""
        if doc_nos:
            self._add(self._next_segment, doc_nos, ids, arrays)
            for doc_no, tokens in zip(doc_nos, arrays, strict=True):
                self._documents[doc_no].unemitted = len(tokens)
            self._changed.add(self._next_segment - 1)

    def _add(self, segment: int, doc_nos: Sequence[int], ids: Sequence[str], arrays: Sequence[Tokens]) -> None:
        self._segments[segment] = dict.fromkeys(doc_nos)
        self._sizes[segment] = len(doc_nos)
        self._next_segment = max(self._next_segment, segment + 1)
        for doc_no, doc_id, tokens in zip(doc_nos, ids, arrays, strict=True):
            self._documents[doc_no] = Held(doc_id, tokens, segment)

    def sample(self, doc_no: int, sampled: Sampled) -> None:
        """Remember what the tick said of a document that stays."""
        self._documents[doc_no].sampled = sampled
        self._sampled[doc_no] = False

    def hold(self, doc_no: int, times: int = 1) -> None:
        """More holders."""
        self._documents[doc_no].holders += times

    def let_go(self, doc_no: int) -> None:
        """One holder less; the last one takes the document with it."""
        document = self._documents[doc_no]
        document.holders -= 1
        if not document.holders:
            self.drop(doc_no)

    def drop(self, doc_no: int) -> None:
        """The document goes, whoever holds it."""
        segment = self._documents.pop(doc_no).segment
        del self._segments[segment][doc_no]
        self._changed.add(segment)
        if self._sampled.pop(doc_no, False):
            self._unsampled.append(doc_no)

    def changes(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Segments that came or went since the last call. Sparse ones are gathered into a new one first."""
        self._compact()
        for segment in sorted(self._changed):
            key = SEGMENT_PREFIX + segment.to_bytes(8, "big")
            if not self._segments[segment]:
                del self._segments[segment], self._sizes[segment]
                if segment in self._stored:
                    self._stored.remove(segment)
                    yield key, None
            elif segment not in self._stored:
                self._stored.add(segment)
                yield key, self._encode(segment)
        self._changed.clear()
        for doc_no in self._unsampled:
            yield SAMPLED_PREFIX + doc_no.to_bytes(8, "big"), None
        self._unsampled.clear()
        for doc_no, is_written in self._sampled.items():
            if not is_written:
                yield (
                    SAMPLED_PREFIX + doc_no.to_bytes(8, "big"),
                    msgspec.msgpack.encode(self._documents[doc_no].sampled),
                )
        self._sampled = dict.fromkeys(self._sampled, True)

    def _compact(self) -> None:
        sparse = [
            segment
            for segment in sorted(self._changed & self._stored)
            if 0 < len(self._segments[segment]) < COMPACT_BELOW * self._sizes[segment]
        ]
        if not sparse:
            return
        target = self._next_segment
        moved = [doc_no for segment in sparse for doc_no in self._segments[segment]]
        self._next_segment += 1
        self._segments[target] = dict.fromkeys(moved)
        self._sizes[target] = len(moved)
        self._changed.add(target)
        for segment in sparse:
            self._segments[segment].clear()
        for doc_no in moved:
            document = self._documents[doc_no]
            document.tokens, document.segment = document.tokens.copy(), target

    def _encode(self, segment: int) -> bytes:
        documents = [self._documents[doc_no] for doc_no in self._segments[segment]]
        return msgspec.msgpack.encode(
            HeldSegment(
                list(self._segments[segment]),
                [document.doc_id for document in documents],
                TokenArrays.pack([document.tokens for document in documents]),
            )
        )

    def apply(self, key: bytes, value: bytes | None) -> None:
        """Put one fact back, or drop it. A segment comes before what its documents' ticks said."""
        number = int.from_bytes(key[1:], "big")
        if key[:1] == SAMPLED_PREFIX:
            self._apply_sampled(number, value)
        else:
            self._apply_segment(number, value)

    def _apply_sampled(self, doc_no: int, value: bytes | None) -> None:
        if value is None:
            self._sampled.pop(doc_no, None)
        else:
            self._sampled[doc_no] = True
            self._documents[doc_no].sampled = msgspec.msgpack.decode(value, type=Sampled)

    def _apply_segment(self, segment: int, value: bytes | None) -> None:
        for doc_no in self._segments.pop(segment, {}):
            del self._documents[doc_no]
        self._stored.discard(segment)
        self._sizes.pop(segment, None)
        if value is None:
            return
        held = msgspec.msgpack.decode(value, type=HeldSegment)
        self._add(segment, held.doc_nos, held.ids, held.tokens.unpack())
        self._stored.add(segment)

    def restore(self, holders: Iterable[tuple[int, int]]) -> None:
        """After all facts are back: who holds what, as (doc_no, tokens of its first use that this holder will emit).

        Documents that nobody holds left their segment since it was written, and go.
        """
        for document in self._documents.values():
            document.holders = document.unemitted = 0
        for doc_no, unemitted in holders:
            self._documents[doc_no].holders += 1
            self._documents[doc_no].unemitted += unemitted
        for doc_no in [doc_no for doc_no, document in self._documents.items() if not document.holders]:
            self.drop(doc_no)
