"""Strata: documents of one language of one source, for rewards that say nothing of sources against each other.

The form of a text differs more between languages and sources than between good and bad ones of a kind: rules made for
web pages would drop a law, and a head trained on English prose all that is not. So such rewards are *standardised*
within a stratum, by the mean and the deviation of its documents so far, those of the tick included. And each stratum
keeps a *least* share of its tokens: where the bandit would admit less, the admission probabilities of its documents
rise by one and the same part of what they lack, just so far that the share over the memory of the discount holds.

Shape legend: B documents of a tick.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from state.fact_table import FactOwner, FactTable, Table
from state.facts import TEXT, Facts, Family, packed

# More would be one a document; the one that nothing came of for longest is forgotten for a new one.
MAX_STRATA = 4096


class Stratum(msgspec.Struct, array_like=True):
    """Fact: what came of a stratum, discounted to the document `at`, of those that ever came."""

    at: int = 0
    arrived: float = 0.0  # tokens, and those that were admitted
    admitted: float = 0.0
    moments: dict[str, tuple[float, float, float]] = {}  # by source of rewards: count, mean, sum of squared deviations


_STRATA = Facts(Family("strata", "what came of a language of a source, and was admitted"), TEXT, packed(Stratum))


def strata_of(languages: Sequence[str], sources: Sequence[str]) -> tuple[str, ...]:
    """The stratum of each document."""
    return tuple([f"{language}\t{source}" for language, source in zip(languages, sources, strict=True)])


class Strata(FactOwner):
    """All strata that are remembered. `least` is the share of tokens that each keeps; 0 keeps no accounts."""

    def __init__(self, discount: float, *, least: float) -> None:
        self._discount = discount  # by document
        self._least = least
        self._strata = FactTable(_STRATA)
        self.clock = 0  # documents that ever came, before this tick

    def tables(self) -> tuple[Table, ...]:
        """The strata."""
        return (self._strata,)

    def raised(
        self, strata_B: Sequence[str], num_tokens_B: NDArray[np.int64], propensities_B: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Admission probabilities, as high as the least shares want them."""
        if not self._least or not strata_B:
            return propensities_B
        raised_B = propensities_B.astype(np.float64)
        for name, rows in _rows_by_name(strata_B).items():
            known = self._faded(name)
            tokens = num_tokens_B[rows].astype(np.float64)
            wanted = self._least * (known.arrived + float(tokens.sum())) - known.admitted
            missing = wanted - float((tokens * raised_B[rows]).sum())
            lacking = float((tokens * (1.0 - raised_B[rows])).sum())
            if missing > 0 and lacking > 0:
                raised_B[rows] += (1.0 - raised_B[rows]) * min(missing / lacking, 1.0)
        return raised_B.astype(np.float32)

    def count(self, strata_B: Sequence[str], num_tokens_B: NDArray[np.int64], admitted_B: NDArray[np.bool_]) -> None:
        """These documents came, and some of them were admitted."""
        if not self._least or not strata_B:
            return
        for name, rows in _rows_by_name(strata_B).items():
            stratum = self._open(name)
            stratum.arrived += float(num_tokens_B[rows].sum())
            stratum.admitted += float(num_tokens_B[rows][admitted_B[rows]].sum())

    def standardised(self, strata_B: Sequence[str], values_B: NDArray[np.floating], source: str) -> NDArray[np.float64]:
        """The values in standard deviations of their strata; 0 where a stratum has but one value. NaN stays NaN."""
        standard_B = np.full(len(values_B), np.nan)
        for name, rows in _rows_by_name(strata_B).items():
            values = values_B[rows].astype(np.float64)
            stratum, is_known = self._open(name), np.isfinite(values)
            known = values[is_known]
            if not len(known):
                continue
            count, mean, m2 = stratum.moments.get(source, (0.0, 0.0, 0.0))
            gap, total = float(known.mean()) - mean, count + len(known)
            m2 += float(((known - known.mean()) ** 2).sum()) + gap**2 * count * len(known) / total
            mean += gap * len(known) / total
            stratum.moments = {**stratum.moments, source: (total, mean, m2)}
            deviation = math.sqrt(m2 / total)
            # A stratum of equal values has a deviation of rounding.
            is_spread = deviation > 1e-6 * (abs(mean) + 1e-6)
            standard_B[rows] = (values - mean) / deviation if is_spread else np.where(is_known, 0.0, np.nan)
        return standard_B

    def _faded(self, name: str) -> Stratum:
        """A stratum as it weighs now; a new one if it is not known. It is a copy."""
        known = self._strata.get(name)
        if known is None:
            return Stratum(self.clock)
        fade = self._discount ** (self.clock - known.at)
        moments = {source: (count * fade, mean, m2 * fade) for source, (count, mean, m2) in known.moments.items()}
        return Stratum(self.clock, known.arrived * fade, known.admitted * fade, moments)

    def _open(self, name: str) -> Stratum:
        """The same, to be changed."""
        if name not in self._strata and len(self._strata) >= MAX_STRATA:
            del self._strata[min(self._strata, key=lambda other: (self._strata[other].at, other))]
        stratum = self._strata[name] = self._faded(name)
        return stratum


def _rows_by_name(strata_B: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Rows of each stratum, in the order in which they came."""
    places: dict[str, list[int]] = {}
    for row, name in enumerate(strata_B):
        places.setdefault(name, []).append(row)
    return {name: np.array(rows) for name, rows in places.items()}
