"""Token arrays as bytes, the way facts hold the tokens of several documents.

Tokens of a large vocabulary need u32, but their upper halves are nearly all 0 or 1. Lower and upper halves therefore
lie apart: zstd makes them 6 % smaller so, in two thirds of the time.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.unsignedinteger]  # u16 or u32


class TokenArrays(msgspec.Struct, frozen=True, array_like=True):
    """Part of a fact: at least one array, all of one type.

    >>> packed = TokenArrays.pack([np.array([7, 70_000], np.uint32), np.array([1], np.uint32)])
    >>> [tokens.tolist() for tokens in packed.unpack()]
    [[7, 70000], [1]]
    """

    lengths: list[int]
    halves: bytes  # u16: the tokens, or the lower halves of all of them and then the upper halves
    wide: bool  # u32 tokens, else u16

    @classmethod
    def pack(cls, arrays: Sequence[Tokens]) -> TokenArrays:
        """The arrays, one after the other."""
        return cls.join(np.concatenate(arrays), [len(tokens) for tokens in arrays])

    @classmethod
    def join(cls, tokens_T: Tokens, lengths: list[int]) -> TokenArrays:
        """Arrays of these lengths that stand one after the other."""
        wide = tokens_T.dtype == np.uint32
        halves = tokens_T.view("<u2").reshape(-1, 1 + wide).T
        return cls(lengths, halves.tobytes(), wide)

    def joined(self) -> Tokens:
        """The arrays again, one after the other."""
        halves = np.frombuffer(self.halves, "<u2").reshape(1 + self.wide, -1)
        pairs = np.ascontiguousarray(halves.T)
        return pairs.view(np.uint32)[:, 0] if self.wide else pairs.view(np.uint16)[:, 0]

    def unpack(self) -> list[Tokens]:
        """The arrays again."""
        return np.split(self.joined(), np.cumsum(self.lengths)[:-1])
