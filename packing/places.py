"""Places: where the tokens of documents lie on the topic of prepared rows, so that the journal need not repeat them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.columns import Ragged

PLACE = np.dtype([("source", "<i4"), ("offset", "<i8"), ("row", "<i4")])


@dataclass(frozen=True, slots=True)
class Places:
    """The message and the row of each of B documents. `sources` are names of partitions, which `source` counts."""

    sources: tuple[str, ...]
    places_B: NDArray[np.void]

    @classmethod
    def in_message(cls, source: str, offset: int, rows_B: NDArray[np.int64]) -> Places:
        """Rows of one message."""
        places_B = np.zeros(len(rows_B), PLACE)
        places_B["offset"], places_B["row"] = offset, rows_B
        return cls((source,), places_B)

    def take(self, rows_B: NDArray[np.int64] | NDArray[np.bool_]) -> Places:
        """Those of some documents."""
        return Places(self.sources, self.places_B[rows_B])

    def oldest(self) -> dict[str, int]:
        """The first offset in each source that has any."""
        return {
            source: int(self.places_B["offset"][self.places_B["source"] == number].min())
            for number, source in enumerate(self.sources)
            if (self.places_B["source"] == number).any()
        }

    def are_before(self, offsets: Mapping[str, int]) -> bool:
        """Whether any lies before the offset of its source."""
        return any(first < offsets.get(source, 0) for source, first in self.oldest().items())

    def messages(self) -> list[tuple[str, int, NDArray[np.int64]]]:
        """Each message, with the documents that lie in it: source, offset, (M,)."""
        keys_M, members_B = np.unique(self.places_B[["source", "offset"]], return_inverse=True)
        return [
            (self.sources[source], offset, np.flatnonzero(members_B == number))
            for number, (source, offset) in enumerate(keys_M.tolist())
        ]


def join_places(parts: Sequence[Places | None]) -> Places | None:
    """The places of several parts, one behind the other; None if one has none."""
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    sources = tuple(dict.fromkeys(source for part in known for source in part.sources))
    joined = []
    for part in known:
        places_B = part.places_B.copy()
        places_B["source"] = np.array([sources.index(source) for source in part.sources])[places_B["source"]]
        joined.append(places_B)
    return Places(sources, np.concatenate(joined))


class ReadPlaced(Protocol):
    """Reads documents that lie in one message."""

    def __call__(self, source: str, offset: int, rows_B: NDArray[np.int64]) -> tuple[list[str], Ragged[np.generic]]:
        """Ids and tokens of the documents in these rows. Raises `StateError` if the message is there no more."""
