"""Features: clusters as sums, from which everything about them follows.

A cluster is only its clustering feature (Zhang et al., BIRCH, 1996): weight n and sum S of its unit vectors, and the
same of its two halves. These suffice, because for unit vectors

    cohesion        mean cosine of two members            (|S|^2 - n) / (n (n - 1))
    cross-cosine    of a member of i with one of j        <S_i, S_j> / (n_i n_j)
    merge cost      growth of the squared error (Ward)    n_i n_j / (n_i + n_j) |S_i/n_i - S_j/n_j|^2

Two halves of pure noise differ too, the more the fewer their members: a dozen documents can always be halved
neatly. The gap between halves is therefore discounted below 32 members.

Rows are facts that change with every tick: after the documents, they are most of a journal. They are stored rounded,
sums as f32, those of halves, which know some 500 members, as f16; and every tick ends with the same rounding in memory,
so that a restart changes nothing.

Shape legend: K clusters, D dimensions, 2 halves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.vectors.teacher import unit_vectors
from kernels.products import dots, products

MIN_HALF = 5.0
SETTLED_HALF = 32.0
# The halves of a cluster that was seeded or merged know no more than this many members, so that new ones can still
# move them.
MAX_HALF_WEIGHT = 500.0
# A cluster knows no more members than this: the few that come in a tick must still move a sum that is rounded to f32.
MAX_WEIGHT = float(1 << 24)

Floats = NDArray[np.float64]


def cohesion(weights_K: Floats, sums_KD: Floats) -> Floats:
    """Mean cosine of two members, by cluster; 0 for fewer than two members.

    >>> cohesion(np.array([2.0, 2.0, 1.0]), np.array([[2.0, 0.0], [1.0, 1.0], [1.0, 0.0]])).tolist()
    [1.0, 0.0, 0.0]
    """
    squares_K = dots(sums_KD, sums_KD)
    pairs_K = weights_K * (weights_K - 1.0)
    return np.where(weights_K > 1.5, (squares_K - weights_K) / np.maximum(pairs_K, 0.75), 0.0)


def split_gap(half_weights_K2: Floats, half_sums_K2D: Floats) -> Floats:
    """By how much the halves are more alike within than across, discounted for few members; -1 for too few."""
    smaller_K = half_weights_K2.min(axis=-1)
    cross_K = dots(half_sums_K2D[..., 0, :], half_sums_K2D[..., 1, :])
    cross_K = cross_K / np.maximum(half_weights_K2.prod(axis=-1), 1e-9)
    gap_K = cohesion(half_weights_K2, half_sums_K2D).min(axis=-1) - cross_K
    discount_K = np.maximum(1.0, SETTLED_HALF / np.maximum(smaller_K, 1.0))
    return np.where(smaller_K >= MIN_HALF, gap_K / discount_K, -1.0)


def highest_pair(scores_KK: Floats) -> tuple[int, int]:
    """Where a (K, K) table is highest; the first in reading order among equals."""
    first, second = np.unravel_index(int(scores_KK.argmax()), scores_KK.shape)
    return int(first), int(second)


def best_pairs(shared_KO: NDArray[np.int64]) -> dict[int, int]:
    """Rows with columns, one to one, the highest count first; none of count 0.

    >>> best_pairs(np.array([[5, 9], [4, 8], [0, 0]]))
    {0: 1, 1: 0}
    """
    pairs: dict[int, int] = {}
    for flat in np.argsort(-shared_KO, axis=None, kind="stable").tolist():
        row, column = divmod(flat, shared_KO.shape[1])
        if not shared_KO[row, column]:
            break
        if row not in pairs and column not in pairs.values():
            pairs[row] = column
    return pairs


# Types of a sum and of the sums of halves: in memory, and in what is stored.
_EXACT, _STORED = ("<f8", "<f8"), ("<f4", "<f2")


def _row(dimension: int, sum_type: str, half_type: str) -> np.dtype[np.void]:
    return np.dtype(
        [
            ("cluster", "<i8"),
            ("documents", "<i8"),  # assigned to it, or to what was merged into it
            ("central_doc_no", "<i8"),  # the document that was most similar to the centre it met; -1 if none came
            ("central_similarity", "<f8"),
            ("weight", "<f8"),  # members that the sum knows, faded
            ("half_weights", "<f8", (2,)),
            ("sum", sum_type, (dimension,)),
            ("half_sums", half_type, (2, dimension)),
        ]
    )


class Features:
    """K clusters in ascending order of their ids: a table with a row each, and the columns as views (K, ...)."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._row = _row(dimension, *_EXACT)
        self._stored_row = _row(dimension, *_STORED)
        self._table_K = np.zeros(0, self._row)

    def __len__(self) -> int:
        return len(self._table_K)

    def column(self, name: str) -> NDArray[Any]:
        """A column of the table, to be read and changed in place."""
        return self._table_K[name]

    def centres(self) -> NDArray[np.float32]:
        """Unit vectors (K, D)."""
        return unit_vectors(self._table_K["sum"])

    def cohesions(self) -> Floats:
        """Mean cosine of two members, by cluster."""
        return cohesion(self._table_K["weight"], self._table_K["sum"])

    def append(self, cluster: int, members_MD: NDArray[Any], halves_M: NDArray[np.integer]) -> None:
        """One more cluster, of these members in these halves (0, 1; -1: in none); its id must be the highest yet."""
        row = np.zeros(1, self._row)
        row["cluster"], row["central_doc_no"], row["central_similarity"] = cluster, -1, -2.0
        row["weight"], row["sum"] = len(members_MD), members_MD.sum(axis=0, dtype=np.float64)
        fade = min(1.0, MAX_HALF_WEIGHT / max(len(members_MD), 1))
        for half in (0, 1):
            row["half_weights"][0, half] = np.count_nonzero(halves_M == half) * fade
            row["half_sums"][0, half] = members_MD[halves_M == half].sum(axis=0, dtype=np.float64) * fade
        self._table_K = np.concatenate((self._table_K, row))

    def split(self, slot: int, cluster: int) -> None:
        """The smaller half leaves as a new cluster, with its share of the documents.

        The halves know the latest members only, so their means are shifted alike until they average to the whole
        cluster's mean: total weight and total sum are kept, and so is what tells the halves apart. Which half the
        most central document is in is not known: both show it until the next document comes.
        """
        row = self._table_K[slot]
        shares_2 = row["half_weights"] / row["half_weights"].sum()
        means_2D = row["half_sums"] / row["half_weights"][:, None]
        means_2D = means_2D + (row["sum"] / row["weight"] - (shares_2[:, None] * means_2D).sum(axis=0))
        leaves = int(shares_2.argmin())
        new = self._table_K[slot : slot + 1].copy()
        new["cluster"] = cluster
        new["weight"] = row["weight"] * shares_2[leaves]
        new["sum"] = means_2D[leaves] * new["weight"][0]
        new["documents"] = round(float(row["documents"] * shares_2[leaves]))
        for name in ("weight", "sum", "documents"):
            row[name] -= new[name][0]
        for one in (row, new):
            one["half_weights"], one["half_sums"], one["central_similarity"] = 0.0, 0.0, -2.0
        self._table_K = np.concatenate((self._table_K, new))

    def merge(self, winner: int, loser: int) -> None:
        """The slot `loser` joins the slot `winner` and is gone; the two become the halves."""
        row, other = self._table_K[winner], self._table_K[loser]
        fade = min(1.0, MAX_HALF_WEIGHT / max(float(row["weight"] + other["weight"]), 1e-9))
        for half, one in enumerate((row.copy(), other)):
            row["half_weights"][half] = one["weight"] * fade
            row["half_sums"][half] = one["sum"] * fade
        for name in ("weight", "sum", "documents"):
            row[name] += other[name]
        if other["central_similarity"] > row["central_similarity"]:
            row["central_similarity"], row["central_doc_no"] = other["central_similarity"], other["central_doc_no"]
        self.delete(loser)

    def rename(self, clusters: Sequence[int]) -> None:
        """Give every slot a new id, and put them in order."""
        self._table_K["cluster"] = clusters
        self._table_K = self._table_K[np.argsort(self._table_K["cluster"])]

    def delete(self, slot: int) -> None:
        """The cluster is gone."""
        self._table_K = np.delete(self._table_K, slot)

    def settle(self) -> None:
        """The end of a tick: a cluster forgets what is above `MAX_WEIGHT`, and all is rounded to what is stored."""
        table_K = self._table_K
        fade_K = np.minimum(1.0, MAX_WEIGHT / np.maximum(table_K["weight"], 1.0))
        table_K["weight"] *= fade_K
        table_K["sum"] *= fade_K[:, None]
        table_K[:] = table_K.astype(self._stored_row)
        # Nothing is left of a half without a new member for thousands of members: the next one may found it again.
        table_K["half_weights"][~table_K["half_sums"].any(axis=-1)] = 0.0

    def cross_cosines(self) -> Floats:
        """(K, K): mean cosine of a member of one with a member of the other."""
        means_KD = self._table_K["sum"] / np.maximum(self._table_K["weight"], 1e-9)[:, None]
        return np.asarray(products(means_KD, means_KD))

    def merge_excess(self) -> Floats:
        """(K, K): cross-cosine less the mean of the two cohesions, above the diagonal; -inf elsewhere."""
        cohesions_K = self.cohesions()
        excess_KK = self.cross_cosines() - (cohesions_K[:, None] + cohesions_K) / 2
        excess_KK[np.tri(len(self), dtype=np.bool_)] = -np.inf
        return excess_KK

    def merge_costs(self) -> Floats:
        """(K, K): by how much merging a pair adds to the squared error, above the diagonal; inf elsewhere."""
        weights_K = np.maximum(self._table_K["weight"], 1e-9)
        cross_KK = self.cross_cosines()
        squares_K = cross_KK.diagonal()
        distances_KK = np.maximum(squares_K[:, None] + squares_K - 2.0 * cross_KK, 0.0)
        costs_KK = distances_KK * (weights_K[:, None] * weights_K / (weights_K[:, None] + weights_K))
        costs_KK[np.tri(len(self), dtype=np.bool_)] = np.inf
        return np.asarray(costs_KK)

    def rows(self) -> dict[int, bytes]:
        """All that is known of each cluster since the last `settle`, for `from_rows`."""
        stored_K = self._table_K.astype(self._stored_row)
        return {int(row["cluster"]): row.tobytes() for row in stored_K}

    @classmethod
    def from_rows(cls, rows: Mapping[int, bytes]) -> Features:
        """The result of `rows`, ids ascending."""
        scalars, one_dimension = (_row(dimension, *_STORED).itemsize for dimension in (0, 1))
        sizes = {(len(value) - scalars) // (one_dimension - scalars) for value in rows.values()}
        features = cls(max(sizes, default=0))
        features._table_K = np.frombuffer(b"".join(rows.values()), features._stored_row).astype(features._row)
        return features
