"""Sample: the beginnings of some thousand documents, old and new, that the student is trained on."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

import msgspec

from curation.ticks import TICK_ORDINALS
from state.changes import take_changes
from state.token_arrays import TokenArrays, Tokens


class _Block(msgspec.Struct, frozen=True, array_like=True):
    """Fact: documents that came together."""

    doc_nos: list[int]
    tokens: TokenArrays


class Sample:
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
        self._blocks: dict[int, dict[int, Tokens]] = {}
        self._changed: set[bytes] = set()
        self._stored: set[bytes] = set()
        self.next_block = 0
        self.next_doc_no = 0

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
            self._changed.add(_key(self.next_block))
            self.next_block += 1

    def thin(self) -> None:
        """Every other document goes."""
        for number, block in list(self._blocks.items()):
            self._blocks[number] = {doc_no: block[doc_no] for doc_no in list(block)[1::2]}
            self._changed.add(_key(number))
            if not self._blocks[number]:
                del self._blocks[number]

    def remove(self, doc_no: int) -> bool:
        """One document goes; whether it was here."""
        for number, block in self._blocks.items():
            if block.pop(doc_no, None) is not None:
                self._changed.add(_key(number))
                if not block:
                    del self._blocks[number]
                return True
        return False

    def changes(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Blocks that came, shrank or went since the last call."""
        return take_changes(self._changed, self._stored, self._fact)

    def _fact(self, key: bytes) -> _Block | None:
        block = self._blocks.get(int.from_bytes(key, "big"))
        return None if block is None else _Block(list(block), TokenArrays.pack(list(block.values())))

    def apply(self, key: bytes, value: bytes | None) -> None:
        """Put one block back, or drop it; new ones come in the order of their keys."""
        number = int.from_bytes(key, "big")
        if value is None:
            self._blocks.pop(number, None)
            self._stored.discard(key)
            return
        block = msgspec.msgpack.decode(value, type=_Block)
        self._blocks[number] = dict(zip(block.doc_nos, block.tokens.unpack(), strict=True))
        self._stored.add(key)


def _key(number: int) -> bytes:
    return number.to_bytes(8, "big")
