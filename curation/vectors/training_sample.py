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
    >>> sample.thin()
    >>> [tokens.tolist() for tokens in sample.documents()]
    [[11, 7], [13, 7]]
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

    def documents(self) -> list[Tokens]:
        """All of them."""
        return [tokens for block in self._blocks.values() for tokens in block.values()]

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

    def thin(self) -> None:
        """Every other document goes."""
        for number, block in list(self._blocks.items()):
            self._blocks[number] = {doc_no: block[doc_no] for doc_no in list(block)[1::2]}
            if not self._blocks[number]:
                del self._blocks[number]

    def remove(self, doc_no: int) -> bool:
        """One document goes; whether it was here."""
        for number, block in self._blocks.items():
            if block.pop(doc_no, None) is not None:
                self._blocks.touch(number)
                if not block:
                    del self._blocks[number]
                return True
        return False
