"""Held documents: id and tokens of accepted documents until their last use is emitted.

Ticks, balance buffers, pool and rows pass documents on by number; the tokens stay here. Each of them that has a
document is a holder; the document goes when the last one lets go. Documents that were accepted together share a
block: one fact, one array. A block of which little is left is copied together with others, so that a few
long-waiting documents do not pin the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat

import msgspec

from ops.readings import Gauges
from state.fact_table import FactOwner, FactTable, Table
from state.facts import NUMBER, Codec, Facts, FactSource, Family, packed
from state.token_arrays import TokenArrays, Tokens

# A block is rewritten when less than this share of its documents is still held.
COMPACT_BELOW = 0.25


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    """Fact: documents that were accepted together."""

    doc_nos: list[int]
    ids: list[str]
    tokens: TokenArrays


class Sampled(msgspec.Struct, frozen=True, array_like=True):
    """Fact: what a document's tick said of it, while a balance buffer holds it."""

    numbers: bytes  # a record of `DOCUMENT`
    vector: bytes = b""  # f32, where it cannot be computed again


@dataclass(slots=True)
class Held:
    """One document. `unemitted` counts the tokens of its first use that no row has taken out yet."""

    doc_id: str
    tokens: Tokens
    block: int
    holders: int = 1
    unemitted: int = 0


@dataclass(slots=True)
class _Block:
    """The documents of a fact that are still held, by number. It stays as it was written when some of them leave."""

    documents: dict[int, Held]
    size: int  # documents when it was made


_PACKED = packed(_Packed)


def _encode(block: _Block) -> bytes:
    documents = block.documents.values()
    return _PACKED.encode(
        _Packed(
            list(block.documents),
            [document.doc_id for document in documents],
            TokenArrays.pack([document.tokens for document in documents]),
        )
    )


def _decode(value: bytes) -> _Block:
    fact = _PACKED.decode(value)
    documents = map(Held, fact.ids, fact.tokens.unpack(), repeat(0), repeat(0))
    return _Block(dict(zip(fact.doc_nos, documents, strict=True)), len(fact.doc_nos))


_HELD = Family("held", "ids and tokens of documents that are held together; what their tick said of one")
_BLOCKS = Facts(_HELD, NUMBER, Codec(_encode, _decode), prefix=b"d")
SAMPLED = Facts(_HELD, NUMBER, packed(Sampled), prefix=b"s")


class HeldDocuments(FactOwner):
    """Documents by number."""

    def __init__(self) -> None:
        self._documents: dict[int, Held] = {}
        self._blocks = FactTable(_BLOCKS)
        self._sampled = FactTable(SAMPLED)
        self._next_block = 0
        self._thinned: set[int] = set()  # blocks that documents left since the last commit

    def tables(self) -> tuple[Table, ...]:
        """The documents, and what their ticks said."""
        return self._blocks, self._sampled

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
            number = self._next_block
            self._begin_block(
                {
                    doc_no: Held(doc_id, tokens, number, unemitted=len(tokens))
                    for doc_no, doc_id, tokens in zip(doc_nos, ids, arrays, strict=True)
                }
            )

    def _begin_block(self, documents: dict[int, Held]) -> None:
        self._blocks[self._next_block] = _Block(documents, len(documents))
        self._documents.update(documents)
        self._next_block += 1

    def sample(self, doc_no: int, sampled: Sampled) -> None:
        """Remember what the tick said of a document that stays."""
        self._sampled[doc_no] = sampled

    def sampled(self, doc_no: int) -> Sampled | None:
        """The result of a document's tick, if it was to be remembered."""
        return self._sampled.get(doc_no)

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
        """Remove a document from all holders."""
        number = self._documents.pop(doc_no).block
        documents = self._blocks[number].documents
        del documents[doc_no]
        if documents:
            self._thinned.add(number)
        else:
            del self._blocks[number]
        self._sampled.pop(doc_no, None)

    def before_commit(self) -> None:
        """Gather what is left of sparse blocks into a new one."""
        blocks = [(number, self._blocks[number]) for number in sorted(self._thinned) if number in self._blocks]
        sparse = [number for number, block in blocks if len(block.documents) < COMPACT_BELOW * block.size]
        self._thinned.clear()
        moved = {doc_no: held for number in sparse for doc_no, held in self._blocks.pop(number).documents.items()}
        if not moved:
            return
        for document in moved.values():
            document.tokens, document.block = document.tokens.copy(), self._next_block
        self._begin_block(moved)

    def restored(self, committed: FactSource) -> None:
        """The documents by number again. Who holds them comes with `restore_holders`."""
        for number, block in self._blocks.items():
            self._next_block = number + 1
            self._documents.update(block.documents)
            for document in block.documents.values():
                document.block, document.holders = number, 0

    def restore_holders(self, holders: Iterable[tuple[int, int]]) -> None:
        """The holders' documents, as (doc_no, tokens of its first use that this holder will emit).

        Drops documents without a holder: they left after their block was written.
        """
        for doc_no, unemitted in holders:
            self._documents[doc_no].holders += 1
            self._documents[doc_no].unemitted += unemitted
        for doc_no in [doc_no for doc_no, document in self._documents.items() if not document.holders]:
            self.drop(doc_no)
