"""Gate: a share of the tokens, those that are like the target first, with no source below its floor.

DSIR keeps the documents with the largest log weight + Gumbel noise, which is sampling without replacement by weight.
On a stream the top is what lies above a threshold: the quantile of the keys of the last documents, by their tokens. A
source of which less than its floor would be left has a threshold of its own. Both are corrected by what was kept too
much or too little of late.

    key = worth in deviations of the stream's sample / TEMPERATURE + Gumbel(hash of seed and id)

Keys of a source are a histogram over tokens, which fades as beliefs of the bandit do. The thresholds of every tick are
facts, so that it can be told why a document was turned away.

Shape legend: B documents of a tick, S sources, K bins of keys.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from curation.selection.target import TargetConfig
from curation.selection.target_facts import FAMILY, SHARED, THRESHOLDS, Shared, Thresholds, gumbel, keys_of
from curation.ticks import Accepted
from state.epoch import Epoch
from state.fact_table import FactCell, FactOwner, FactTable, Table
from state.facts import TEXT, Facts, packed

LOWEST, HIGHEST, BINS = -20.0, 30.0, 500
DISCOUNT = 0.995 ** (1 / 200)  # by document, as the bandit's
MAX_SOURCES = 1024  # with thresholds of their own; the one that was silent for longest is forgotten


class SourceKeys(msgspec.Struct, array_like=True):
    """Fact: what came of a source, faded to the document `at` of all that came."""

    at: int
    keys: bytes  # f64 [K]: tokens by key
    kept: float = 0.0  # tokens


_SOURCES = Facts(FAMILY, TEXT, packed(SourceKeys), prefix=b"s")


class TargetGate(FactOwner):
    """Keeps the likest; with a share of 1 it is open to all. `scale` is mean and deviation of the stream's sample."""

    def __init__(self, config: TargetConfig, scale: tuple[float, float] = (0.0, 1.0), *, seed: int = 0) -> None:
        self._config = config
        self._seed = seed
        self.is_open = config.keep_ratio == 1
        self._scale = scale
        self._sources = FactTable(_SOURCES)
        self._cell = FactCell(SHARED, Shared())

    def tables(self) -> tuple[Table, ...]:
        """Keys by source, and what they share."""
        return self._sources, self._cell

    def keep(
        self, documents: Accepted, worths_B: NDArray[np.float32], epoch: Epoch
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """The documents of a tick that are kept, and the probability with which each was."""
        shared, tokens_B, sources_B = self._cell.value, documents.num_tokens_B, np.array(documents.sources, object)
        bases_B = keys_of(worths_B, *self._scale)
        keys_B = bases_B + gumbel(documents.keys_B, self._seed)
        rows = {source: np.flatnonzero(sources_B == source) for source in dict.fromkeys(documents.sources)}
        histograms = {
            source: self._arrived(source, keys_B[of], documents.num_tokens_B[of]) for source, of in rows.items()
        }
        arriving_S = np.array([float(documents.num_tokens_B[of].sum()) for of in rows.values()])
        thresholds = self._find_thresholds(histograms, arriving_S)
        thresholds_B = np.array([thresholds.of(source) for source in documents.sources])
        kept_B: NDArray[np.bool_] = keys_B >= thresholds_B
        fade = DISCOUNT ** len(documents)
        for source, of in rows.items():
            entry = histograms[source]
            entry.kept += float(tokens_B[of][kept_B[of]].sum())
            self._put(source, entry)
        self._cell.value = Shared(
            shared.documents + len(documents),
            (shared.arrived + float(arriving_S.sum())) * fade,
            (shared.kept + float(tokens_B[kept_B].sum())) * fade,
            *self._scale,
            self._seed,
        )
        THRESHOLDS.put(epoch, documents.tick_no, thresholds)
        return kept_B, -np.expm1(-np.exp(bases_B - thresholds_B))

    def _arrived(self, source: str, keys_X: NDArray[np.float64], num_tokens_X: NDArray[np.int64]) -> SourceKeys:
        """The keys of a source with those that come now."""
        now, known = self._cell.value.documents, self._sources.get(source)
        bins_X = ((keys_X - LOWEST) * (BINS / (HIGHEST - LOWEST))).astype(np.int64)
        counts_K = np.bincount(np.clip(bins_X, 0, BINS - 1), num_tokens_X, BINS)
        if known is None:
            return SourceKeys(now, counts_K.tobytes())
        fade = DISCOUNT ** (now - known.at)
        return SourceKeys(now, (np.frombuffer(known.keys) * fade + counts_K).tobytes(), known.kept * fade)

    def _find_thresholds(self, histograms: dict[str, SourceKeys], arriving_S: NDArray[np.float64]) -> Thresholds:
        """Thresholds that keep, in this tick, the tokens that are missing to the ratio and to each floor."""
        config, shared = self._config, self._cell.value
        counts_SK = np.array([np.frombuffer(entry.keys) for entry in histograms.values()])
        kept_S = np.array([entry.kept for entry in histograms.values()])
        arrived_S = counts_SK.sum(axis=1)
        # Shares above each bin's lower end; of this tick, the share that each source is to keep at least.
        above_SK = counts_SK[:, ::-1].cumsum(axis=1)[:, ::-1] / arrived_S[:, None]
        least_S = np.clip((config.source_floor * arrived_S - kept_S) / arriving_S, 0.0, 1.0)
        total = float(arriving_S.sum())
        wanted = min(max(config.keep_ratio * (shared.arrived + total) - shared.kept, 0.0), total)
        above_K = (np.maximum(above_SK, least_S[:, None]) * arriving_S[:, None]).sum(axis=0)
        threshold = _quantile(above_K, wanted)
        own_S = [_quantile(above_K, least) for above_K, least in zip(above_SK, least_S.tolist(), strict=True)]
        return Thresholds(
            threshold, {name: own for name, own in zip(histograms, own_S, strict=True) if own < threshold}
        )

    def _put(self, source: str, entry: SourceKeys) -> None:
        if source not in self._sources and len(self._sources) >= MAX_SOURCES:
            del self._sources[min(self._sources, key=lambda other: (self._sources[other].at, other))]
        self._sources[source] = entry


def _quantile(above_K: NDArray[np.float64], wanted: float) -> float:
    """The key above which so much lies, by interpolation within its bin; the highest for nothing."""
    if wanted <= 0.0:
        return HIGHEST
    place = int(np.searchsorted(-above_K, -wanted, side="right")) - 1  # the last bin from which on there is as much
    if place < 0:
        return LOWEST
    beyond = above_K[place + 1] if place + 1 < len(above_K) else 0.0
    part = (above_K[place] - wanted) / (above_K[place] - beyond) if above_K[place] > beyond else 0.0
    return float(LOWEST + (HIGHEST - LOWEST) / len(above_K) * (place + part))
