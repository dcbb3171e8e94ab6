"""Sample: the beginnings of some thousand documents, old and new, that the student is trained on."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import msgspec

from curation.ticks import TICK_ORDINALS
from state.fact_table import FactOwner, FactTable, Table
from state.facts import NUMBER, Codec, Facts, Family, packed
from state.token_arrays import TokenArrays, Tokens


class _Block(msgspec.Struct, frozen=True, array_like=True):
    """Fact: documents that came together."""

    doc_nos: list[int]
    tokens: TokenArrays


_PACKED = packed(_Block)


def _encode(block: dict[int, Tokens]) -> bytes:
    return _PACKED.encode(_Block(list(block), TokenArrays.pack(list(block.values()))))


def _decode(value: bytes) -> dict[int, Tokens]:
    block = _PACKED.decode(value)
    return dict(zip(block.doc_nos, block.tokens.unpack(), strict=True))


_BLOCKS = Facts(Family("sample", "documents that the student is trained on"), NUMBER, Codec(_encode, _decode))


class Sample(FactOwner):
    """Documents in blocks of a tick at most, oldest first; of each its first `max_tokens`.

    >>> import numpy as np
    >>> sample = Sample(max_tokens=2)
    >>> sample.add([10, 11, 12, 13], [np.array([doc_no, 7, 7], np.uint32) for doc_no in range(10, 14)])
    >>> [tokens.tolist() for tokens in sample.learned()], [tokens.tolist() for tokens in sample.unseen()]
    ([[10, 7], [12, 7]], [[11, 7], [13, 7]])
    >>> [tokens.tolist() for tokens in sample.thin()]
    [[10, 7], [11, 7]]
    >>> [tokens.tolist() for tokens in sample.learned()], [tokens.tolist() for tokens in sample.unseen()]
    ([[12, 7]], [[13, 7]])
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._blocks = FactTable(_BLOCKS)
        self.next_block = 0
        self.next_doc_no = 0

    def tables(self) -> tuple[Table, ...]:
        """The blocks."""
        return (self._blocks,)

    def __len__(self) -> int:
        return sum(map(len, self._blocks.values()))

    def learned(self) -> list[Tokens]:
        """Every other document of each block: those that a student is trained on."""
        return [tokens for block in self._blocks.values() for tokens in list(block.values())[::2]]

    def unseen(self) -> list[Tokens]:
        """The others, for measuring it; where there are none, what it was trained on."""
        return [tokens for block in self._blocks.values() for tokens in list(block.values())[1::2]] or self.learned()

    def add(self, doc_nos: Sequence[int], documents: Sequence[Tokens]) -> None:
        """The documents of one or more ticks, in the order of their numbers. Those that were here do not count again.

        The ticks of a warm-up come after it, with the same documents.
        """
        new = bisect_left(doc_nos, self.next_doc_no)
        for start in range(new, len(doc_nos), TICK_ORDINALS):
            part = slice(start, start + TICK_ORDINALS)
            heads = [tokens[: self._max_tokens].copy() for tokens in documents[part]]
            self._blocks[self.next_block] = dict(zip(doc_nos[part], heads, strict=True))
            self.next_doc_no = doc_nos[part][-1] + 1
            self.next_block += 1

    def thin(self) -> list[Tokens]:
        """Every other pair of documents goes, so that what is left of those that were learned is learned again."""
        gone = []
        for number, block in list(self._blocks.items()):
            kept = {doc_no: tokens for place, (doc_no, tokens) in enumerate(block.items()) if place & 2}
            gone += [tokens for doc_no, tokens in block.items() if doc_no not in kept]
            self._blocks[number] = kept
            if not kept:
                del self._blocks[number]
        return gone

    def remove(self, doc_no: int) -> Tokens | None:
        """One document goes, if it is here; then it is returned."""
        for number, block in self._blocks.items():
            tokens = block.pop(doc_no, None)
            if tokens is not None:
                self._blocks.touch(number)
                if not block:
                    del self._blocks[number]
                return tokens
        return None
