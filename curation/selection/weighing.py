"""Weighing: what the loss of a document is multiplied by, and the bands of perplexity and entropy.

A weight is the one that the document brought along, times a factor for each name in [weights] by:

    commonness  exp(nats - typical nats): the inverse of its commonness over the typical one (SoftDeDup: W ~ 1 / p)
    target      exp(deviations): one deviation of the stream's sample more alike counts e times as much

Each factor is kept between 1 / most and most, and their product is divided by its mean over the tokens of late, so that
a loss keeps its size. What documents bring along is not touched.

All of it is learned from whole ticks: a tick is weighed with what is known after it. Shape legend: B documents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from curation.batch import Tick
from curation.selection.commonness import Sketch
from curation.selection.reward_sources import TARGET
from curation.selection.target_facts import worths
from curation.selection.weighing_facts import WEIGHED, Weighed
from state.document_numbers import WEIGHT
from state.epoch import Epoch
from state.fact_table import FactCell, FactOwner, Table
from state.facts import packed, single
from state.outcomes import LaterReason
from state.token_arrays import Tokens

DISCOUNT = 0.995 ** (1 / 200)  # by document, as the bandit's
COMMONNESS = "commonness"
MAX_WEIGHT = float(np.finfo(np.float32).max)

Factor = Literal["commonness", "target"]


class Band(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a score of the sketch: [weights.perplexity], [weights.entropy]."""

    min: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """Least value of a document that is kept; unset for none."""
    max: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """Highest value of a document that is kept; unset for none."""

    def __post_init__(self) -> None:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"`min` = {self.min} is above `max` = {self.max}: nothing would be kept")

    @property
    def is_open(self) -> bool:
        """Whether all are kept."""
        return self.min is None and self.max is None


class WeightsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section [weights]."""

    by: tuple[Factor, ...] = ()
    """What the loss of a document is multiplied by, beside the weight that it brings along: "commonness" (its inverse:
    what the stream had before counts less), "target" (likeness to [target] files). Several multiply."""
    most: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 4.0
    """Limit of each factor: it is between 1 / most and most."""
    memory_mib: Annotated[int, msgspec.Meta(ge=1, le=256)] = 64
    """Memory of the counts of n-grams, in MiB. Half as much remembers half as many documents."""
    after_tokens: Annotated[int, msgspec.Meta(ge=1)] = 1_000_000
    """Tokens to be counted before anything weighs where "commonness" does, and before the bands turn anything away: at
    first everything is new."""
    perplexity: Band = Band()
    """Perplexity of a document by the n-grams that the stream had before: below are copies, above is noise."""
    entropy: Band = Band()
    """Bits a token by how often the stream had single tokens."""

    @property
    def counts(self) -> bool:
        """Whether anything is said from counts of n-grams."""
        return COMMONNESS in self.by or not (self.perplexity.is_open and self.entropy.is_open)


class _Means(msgspec.Struct, frozen=True, array_like=True):
    """Fact: sums over the tokens of late, faded."""

    tokens: float = 0.0
    nats: float = 0.0
    weighed_tokens: float = 0.0
    products: float = 0.0


_MEANS = single("weights", packed(_Means))


@dataclass(frozen=True, slots=True)
class Judged:
    """The weights of a tick, and the documents that a band turned away, by reason."""

    weights_B: NDArray[np.float32]
    turned_away: dict[LaterReason, NDArray[np.bool_]]


class Weighing(FactOwner):
    """Counts of n-grams, and the typical document. `target_scale` is mean and deviation of the target."""

    def __init__(
        self, config: WeightsConfig, *, names: Sequence[str] = (), target_scale: tuple[float, float] = (0.0, 1.0)
    ) -> None:
        """`names` are those of the scores, as documents have them."""
        self._config = config
        self._names = tuple(names)
        self._target_scale = target_scale
        self._sketch = Sketch(config.memory_mib << 20) if config.counts else None
        self._means = FactCell(_MEANS, _Means())

    def tables(self) -> tuple[Table, ...]:
        """The counts, and the means."""
        return (self._means, *(() if self._sketch is None else (self._sketch,)))

    def given(self, scores_BM: NDArray[np.float32]) -> NDArray[np.float32]:
        """Weights that documents bring along; 1 for those without."""
        if WEIGHT not in self._names:
            return np.ones(len(scores_BM), np.float32)
        given_B = scores_BM[:, self._names.index(WEIGHT)]
        return np.where(np.isnan(given_B), np.float32(1), given_B)

    def weigh(
        self, tick: Tick, tick_no: int, tokens_of: Callable[[NDArray[np.int64]], Sequence[Tokens]], epoch: Epoch
    ) -> Judged:
        """The weights of a tick whose documents have those that they brought along."""
        if not (self._config.by or self._config.counts) or not len(tick):
            return Judged(tick.weights_B, {})
        nats_B2, is_warm = np.full((len(tick), 2), np.nan), True
        if self._sketch is not None:
            is_warm = self._sketch.num_seen >= self._config.after_tokens
            nats_B2 = self._sketch.measure_and_count(tokens_of(tick.doc_nos_B), tick.keys_B)
        factors = self._factors(tick, nats_B2) if is_warm else {}
        products_B = np.ones(len(tick))
        for factor_B in factors.values():
            products_B *= factor_B
        mean = self._mean(tick, products_B) if factors else 1.0
        turned_away = self._turned_away(nats_B2) if is_warm else {}
        fact = Weighed(
            doc_nos=tick.doc_nos_B.tobytes(),
            nats=nats_B2.astype(np.float32).tobytes(),
            factors={name: factor_B.astype(np.float32).tobytes() for name, factor_B in factors.items()},
            mean=mean,
            turned_away={
                doc_no: reason.value for reason, of in turned_away.items() for doc_no in tick.doc_nos_B[of].tolist()
            },
        )
        WEIGHED.put(epoch, tick_no, fact)
        weights_B = np.minimum(tick.weights_B * (products_B / mean), MAX_WEIGHT)
        return Judged(weights_B.astype(np.float32), turned_away)

    def _factors(self, tick: Tick, nats_B2: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """The factors by name, within their limits."""
        logs: dict[str, NDArray[np.float64]] = {}
        if COMMONNESS in self._config.by:
            logs[COMMONNESS] = nats_B2[:, 0] - self._typical(tick, nats_B2[:, 0])
        if TARGET in self._config.by:
            mean, deviation = self._target_scale
            logs[TARGET] = (worths(tick.scores_BM, self._names).astype(np.float64) - mean) / deviation
        limit = float(np.log(self._config.most))
        return {name: np.exp(np.clip(np.nan_to_num(log_B), -limit, limit)) for name, log_B in logs.items()}

    def _typical(self, tick: Tick, nats_B: NDArray[np.float64]) -> float:
        """Mean nats of a token, this tick included."""
        means, known_B = self._means.value, np.isfinite(nats_B)
        fade, tokens_B = DISCOUNT ** len(tick), tick.num_tokens_B[known_B]
        tokens = means.tokens * fade + float(tokens_B.sum())
        nats = means.nats * fade + float(tokens_B @ nats_B[known_B])
        self._means.value = msgspec.structs.replace(means, tokens=tokens, nats=nats)
        return nats / max(tokens, 1.0)

    def _mean(self, tick: Tick, products_B: NDArray[np.float64]) -> float:
        """Mean product of a token, this tick included."""
        means, fade = self._means.value, DISCOUNT ** len(tick)
        tokens = means.weighed_tokens * fade + float(tick.num_tokens_B.sum())
        products = means.products * fade + float(tick.num_tokens_B @ products_B)
        self._means.value = msgspec.structs.replace(means, weighed_tokens=tokens, products=products)
        return products / tokens

    def _turned_away(self, nats_B2: NDArray[np.float64]) -> dict[LaterReason, NDArray[np.bool_]]:
        """The documents beyond each limit of the bands that no limit before turned away."""
        perplexities_B, entropies_B = np.exp(nats_B2[:, 0]), nats_B2[:, 1] / np.log(2)
        perplexity, entropy = self._config.perplexity, self._config.entropy
        limits = (
            (LaterReason.PERPLEXITY_TOO_LOW, perplexity.min, -perplexities_B),
            (LaterReason.PERPLEXITY_TOO_HIGH, perplexity.max, perplexities_B),
            (LaterReason.ENTROPY_TOO_LOW, entropy.min, -entropies_B),
            (LaterReason.ENTROPY_TOO_HIGH, entropy.max, entropies_B),
        )
        kept_B = np.ones(len(nats_B2), np.bool_)
        found = {}
        for reason, limit, values_B in limits:
            if limit is None:
                continue
            beyond_B = kept_B & (values_B > (-limit if reason.endswith("low") else limit))
            kept_B &= ~beyond_B
            found[reason] = beyond_B
        return found
