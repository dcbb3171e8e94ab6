"""An interpolated Kneser-Ney model of token ids: seconds a million tokens, no seed, no learning rate.

Kneser and Ney (1995), interpolated as in Chen and Goodman (1998), one discount an order. N-grams are counted by 64-bit
hashes. The model sees documents, and neither packing nor order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

ORDER = 4
Ids: TypeAlias = NDArray[np.int64]
Keys: TypeAlias = NDArray[np.uint64]

_FACTOR, _SALT, _SHIFT = np.uint64(6364136223846793005), np.uint64(0x9E3779B97F4A7C15), np.uint64(29)


def _keys(ids_T: Ids, order: int) -> Keys:
    """A hash of each n-gram, by the place where it begins."""
    num = len(ids_T) - order + 1
    keys = np.zeros(max(0, num), np.uint64)
    for place in range(order):
        keys = keys * _FACTOR + (ids_T[place : num + place].astype(np.uint64) + np.uint64(1)) * _SALT
        keys ^= keys >> _SHIFT
    return keys


@dataclass(frozen=True, slots=True)
class _Order:
    """The n-grams of one order, sorted by key, with their (continuation) counts, and their contexts."""

    keys: Keys
    counts: NDArray[np.int64]
    total: int
    discount: float
    contexts: Keys
    context_totals: NDArray[np.int64]
    followers: NDArray[np.int64]  # distinct tokens after a context


@dataclass(frozen=True, slots=True)
class KneserNey:
    """A model of one sequence of tokens."""

    orders: tuple[_Order, ...]
    num_tokens: int  # size of the vocabulary

    @classmethod
    def of(cls, ids_T: Ids, vocabulary: int) -> KneserNey:
        """Count the n-grams of `ids_T`. Below the highest order an n-gram counts once for each token before it."""
        orders = []
        starts: NDArray[np.int64] | None = None  # of the distinct n-grams of the order above
        for order in range(ORDER, 0, -1):
            keys = _keys(ids_T, order)
            contexts = _keys(ids_T, order - 1)[: len(keys)]
            if starts is not None:
                keys, contexts = keys[starts + 1], contexts[starts + 1]
            orders.append(_count(keys, contexts))
            starts = np.unique(_keys(ids_T, order), return_index=True)[1]
        return cls(tuple(reversed(orders)), vocabulary)

    def bits(self, ids_T: Ids) -> float:
        """The bits that the tokens after the first take."""
        chance = np.full(len(ids_T) - 1, 1.0 / self.num_tokens)
        for order, counted in enumerate(self.orders, 1):
            keys = _keys(ids_T, order)
            skipped = max(0, order - 2)  # tokens with less context than this order wants
            if order == 1:
                share = np.maximum(_look_up(counted.keys, counted.counts, keys[1:]) - counted.discount, 0)
                chance = share / counted.total + counted.discount * len(counted.keys) / counted.total * chance
                continue
            context = _keys(ids_T, order - 1)[: len(keys)]
            totals = _look_up(counted.contexts, counted.context_totals, context)
            lower = chance[skipped:]
            safe = np.maximum(totals, 1)
            share = np.maximum(_look_up(counted.keys, counted.counts, keys) - counted.discount, 0) / safe
            rest = counted.discount * _look_up(counted.contexts, counted.followers, context) / safe
            chance = np.concatenate([chance[:skipped], np.where(totals > 0, share + rest * lower, lower)])
        return float(-np.log2(np.maximum(chance, 1e-12)).sum())


def _count(keys: Keys, contexts: Keys) -> _Order:
    distinct, first, counts = np.unique(keys, return_index=True, return_counts=True)
    ones, twos = int((counts == 1).sum()), int((counts == 2).sum())
    known, place = np.unique(contexts, return_inverse=True)
    return _Order(
        keys=distinct,
        counts=counts,
        total=len(keys),
        discount=ones / max(1, ones + 2 * twos),
        contexts=known,
        context_totals=np.bincount(place, minlength=len(known)),
        followers=np.bincount(place[first], minlength=len(known)),
    )


def _look_up(sorted_keys: Keys, values: NDArray[np.int64], wanted: Keys) -> NDArray[np.int64]:
    """The value of each key, 0 for one that is unknown."""
    place = np.minimum(np.searchsorted(sorted_keys, wanted), len(sorted_keys) - 1)
    return np.where(sorted_keys[place] == wanted, values[place], 0)
