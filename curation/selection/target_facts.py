"""Facts of a target: what `explain` tells of a document from, and light to import.

Shape legend: B documents, M scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from curation.selection.reward_sources import ORDER, TARGET
from state.chance import draw_unit
from state.facts import NUMBER, Facts, Family, packed, single

TEMPERATURE = 0.5
MAX_DEVIATIONS = 8.0
# The weight of order beside likeness: the means of sources differ by 0.2 to 0.7 in the one, texts and shuffled words by
# 1.2 in the other.
ORDER_WEIGHT = 0.25


def worths(scores_BM: NDArray[np.float32], names: Sequence[str] = (TARGET, ORDER)) -> NDArray[np.float32]:
    """Likeness and order, if it was measured, as one number; NaN without words. `names` are those of the scores."""
    likeness_B: NDArray[np.float32] = scores_BM[:, names.index(TARGET)]
    if ORDER not in names:
        return likeness_B
    return likeness_B + np.float32(ORDER_WEIGHT) * np.nan_to_num(scores_BM[:, names.index(ORDER)])


class Shared(msgspec.Struct, array_like=True):
    """Fact: what came of all sources, faded; and the scale and seed of the keys, which `explain` needs."""

    documents: int = 0  # that ever came
    arrived: float = 0.0  # tokens
    kept: float = 0.0
    mean: float = 0.0
    deviation: float = 1.0
    seed: int = 0  # of the noise


class Thresholds(msgspec.Struct, array_like=True):
    """Fact: the least key that was kept in a tick; of sources that have a lower one, by name."""

    threshold: float
    sources: dict[str, float]

    def of(self, source: str) -> float:
        """The threshold of a document."""
        return min(self.sources.get(source, self.threshold), self.threshold)


class Likeness(msgspec.Struct, array_like=True, kw_only=True):
    """Fact: likeness by vectors of the documents of a tick."""

    doc_nos: bytes  # i64 [B]
    values: bytes  # f32 [B], in deviations of the stream's sample

    def of(self, doc_no: int) -> float | None:
        """That of a document; None if it was not in the tick."""
        (found,) = np.nonzero(np.frombuffer(self.doc_nos, np.int64) == doc_no)
        return float(np.frombuffer(self.values, np.float32)[found[0]]) if len(found) else None


FAMILY = Family("target", "keys of a source, thresholds or likeness of a tick, or densities of vectors")
THRESHOLDS = Facts(FAMILY, NUMBER, packed(Thresholds), prefix=b"t")  # by the number of the tick
LIKENESS = Facts(FAMILY, NUMBER, packed(Likeness), prefix=b"l")  # by the number of the tick
SHARED = single("target", packed(Shared))


def gumbel(id_keys_B: NDArray[np.uint64], seed: int) -> NDArray[np.float64]:
    """Noise of the documents with these id hashes."""
    unit_B = draw_unit(id_keys_B, seed=seed, purpose="target")
    return -np.log(-np.log(unit_B * (1.0 - 2.0**-52) + 2.0**-53))


def keys_of(worths_B: NDArray[np.floating], mean: float, deviation: float) -> NDArray[np.float64]:
    """Keys of documents before the noise; one without words is the least alike."""
    deviations_B = np.nan_to_num((worths_B.astype(np.float64) - mean) / deviation, nan=-MAX_DEVIATIONS)
    return np.clip(deviations_B, -MAX_DEVIATIONS, MAX_DEVIATIONS) / TEMPERATURE
