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
from kernels.features import fill_costs, fill_excess, fill_split_gaps, settle
from kernels.products import dots, products, row_products

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
    gaps_K = np.empty(len(half_weights_K2))
    fill_split_gaps(half_weights_K2, half_sums_K2D, MIN_HALF, SETTLED_HALF, gaps_K)
    return gaps_K


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


def _row(dimension: int) -> np.dtype[np.void]:
    """The stored form of a cluster."""
    return np.dtype(
        [
            ("cluster", "<i8"),
            ("documents", "<i8"),  # assigned to it, or to what was merged into it
            ("central_doc_no", "<i8"),  # the document that was most similar to the centre it met; -1 if none came
            ("central_similarity", "<f8"),
            ("weight", "<f8"),  # members that the sum knows, faded
            ("half_weights", "<f8", (2,)),
            ("sum", "<f4", (dimension,)),
            ("half_sums", "<f2", (2, dimension)),
        ]
    )


_LEAST_PLACES = 16
_EXACT = {"sum": np.float64, "half_sums": np.float64}  # in memory


class Features:
    """K clusters in ascending order of their ids: a column (K, ...) for each thing that is known of them."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._stored_row = _row(dimension)
        self._size = 0
        self._places = self._of(np.zeros(_LEAST_PLACES, self._stored_row))  # columns with room for more clusters
        self._columns = {name: column_K[:0] for name, column_K in self._places.items()}
        self._cross_KK: Floats | None = None  # as it was asked for last
        self._changed: set[int] = set()  # slots whose cross-cosines have changed since

    def _of(self, rows_K: NDArray[np.void]) -> dict[str, NDArray[Any]]:
        """The columns of stored rows."""
        names = self._stored_row.names or ()
        return {name: rows_K[name].astype(_EXACT.get(name, rows_K[name].dtype), order="C") for name in names}

    def __len__(self) -> int:
        return self._size

    def column(self, name: str) -> NDArray[Any]:
        """A column of the table, to be read and changed in place: `learned` has to be told of a change of sums."""
        return self._columns[name]

    def learned(self) -> None:
        """Weights and sums were changed in place."""
        self._cross_KK = None
        self._changed.clear()

    def centres(self) -> NDArray[np.float32]:
        """Unit vectors (K, D)."""
        return unit_vectors(self._columns["sum"])

    def cohesions(self) -> Floats:
        """Mean cosine of two members, by cluster."""
        return cohesion(self._columns["weight"], self._columns["sum"])

    def append(self, cluster: int, members_MD: NDArray[Any], halves_M: NDArray[np.integer]) -> None:
        """One more cluster, of these members in these halves (0, 1; -1: in none); its id must be the highest yet."""
        fade = min(1.0, MAX_HALF_WEIGHT / max(len(members_MD), 1))
        half_weights_2, half_sums_2D = np.zeros(2), np.zeros((2, self.dimension))
        for half in set(halves_M.tolist()) & {0, 1}:
            half_weights_2[half] = np.count_nonzero(halves_M == half) * fade
            half_sums_2D[half] = members_MD[halves_M == half].sum(axis=0, dtype=np.float64) * fade
        self._append(
            {
                "cluster": cluster,
                "documents": 0,
                "central_doc_no": -1,
                "central_similarity": -2.0,
                "weight": len(members_MD),
                "half_weights": half_weights_2,
                "sum": members_MD.sum(axis=0, dtype=np.float64),
                "half_sums": half_sums_2D,
            }
        )

    def _append(self, row: Mapping[str, Any]) -> None:
        if self._size == len(self._places["cluster"]):
            self._places = {name: np.concatenate((column_K, column_K)) for name, column_K in self._places.items()}
        for name, column_K in self._places.items():
            column_K[self._size] = row[name]
        self._resize(self._size + 1)
        if self._cross_KK is not None:
            self._cross_KK = np.pad(self._cross_KK, (0, 1))
            self._changed.add(self._size - 1)

    def _resize(self, size: int) -> None:
        self._size = size
        self._columns = {name: column_K[:size] for name, column_K in self._places.items()}

    def split(self, slot: int, cluster: int) -> None:
        """The smaller half leaves as a new cluster, with its share of the documents.

        The halves know the latest members only, so their means are shifted alike until they average to the whole
        cluster's mean: total weight and total sum are kept, and so is what tells the halves apart. Which half the
        most central document is in is not known: both show it until the next document comes.
        """
        row = {name: column_K[slot : slot + 1] for name, column_K in self._columns.items()}
        new = {name: column_1.copy() for name, column_1 in row.items()}
        shares_2 = row["half_weights"][0] / row["half_weights"][0].sum()
        means_2D = row["half_sums"][0] / row["half_weights"][0][:, None]
        means_2D = means_2D + (row["sum"][0] / row["weight"][0] - (shares_2[:, None] * means_2D).sum(axis=0))
        leaves = int(shares_2.argmin())
        new["cluster"][0] = cluster
        new["weight"][0] = row["weight"][0] * shares_2[leaves]
        new["sum"][0] = means_2D[leaves] * new["weight"][0]
        new["documents"][0] = round(float(row["documents"][0] * shares_2[leaves]))
        for name in ("weight", "sum", "documents"):
            row[name][0] -= new[name][0]
        for one in (row, new):
            one["half_weights"][:], one["half_sums"][:], one["central_similarity"][:] = 0.0, 0.0, -2.0
        self._changed.add(slot)
        self._append({name: column_1[0] for name, column_1 in new.items()})

    def merge(self, winner: int, loser: int) -> None:
        """The slot `loser` joins the slot `winner` and is gone; the two become the halves."""
        column = self._columns
        weights = column["weight"][[winner, loser]]
        sums_2D = column["sum"][[winner, loser]]
        fade = min(1.0, MAX_HALF_WEIGHT / max(float(weights.sum()), 1e-9))
        column["half_weights"][winner], column["half_sums"][winner] = weights * fade, sums_2D * fade
        for name in ("weight", "sum", "documents"):
            column[name][winner] += column[name][loser]
        if column["central_similarity"][loser] > column["central_similarity"][winner]:
            for name in ("central_similarity", "central_doc_no"):
                column[name][winner] = column[name][loser]
        self._changed.add(winner)
        self.delete(loser)

    def rename(self, clusters: Sequence[int]) -> None:
        """Give every slot a new id, and put them in order."""
        order_K = np.argsort(clusters)
        self._columns["cluster"][:] = clusters
        for column_K in self._columns.values():
            column_K[:] = column_K[order_K]
        self.learned()

    def delete(self, slot: int) -> None:
        """The cluster is gone."""
        for column_K in self._columns.values():
            flat, size = column_K.reshape(-1), column_K[0].size
            flat[slot * size : -size] = flat[(slot + 1) * size :]
        self._resize(self._size - 1)
        if self._cross_KK is not None:
            self._cross_KK = np.delete(np.delete(self._cross_KK, slot, axis=0), slot, axis=1)
            self._changed = {other - (other > slot) for other in self._changed if other != slot}

    def settle(self) -> None:
        """The end of a tick: a cluster forgets what is above `MAX_WEIGHT`, and all is rounded to what is stored.

        Nothing is left of a half without a new member for thousands of members: the next one may found it again.
        """
        names = ("weight", "sum", "half_weights", "half_sums")
        settle(*(self._columns[name] for name in names), MAX_WEIGHT)
        self.learned()

    def cross_cosines(self) -> Floats:
        """(K, K): mean cosine of a member of one with a member of the other."""
        if self._cross_KK is not None and not self._changed:
            return self._cross_KK
        means_KD = self._columns["sum"] / np.maximum(self._columns["weight"], 1e-9)[:, None]
        if self._cross_KK is None:
            self._cross_KK = products(means_KD, means_KD)
        for slot in sorted(self._changed):
            self._cross_KK[slot] = self._cross_KK[:, slot] = row_products(means_KD[slot], means_KD)
        self._changed.clear()
        return self._cross_KK

    def merge_excess(self) -> Floats:
        """(K, K): cross-cosine less the mean of the two cohesions, above the diagonal; -inf elsewhere."""
        cross_KK = self.cross_cosines()
        excess_KK = np.full(cross_KK.shape, -np.inf)
        fill_excess(cross_KK, self.cohesions(), excess_KK)
        return excess_KK

    def merge_costs(self) -> Floats:
        """(K, K): by how much merging a pair adds to the squared error, above the diagonal; inf elsewhere."""
        cross_KK = self.cross_cosines()
        costs_KK = np.full(cross_KK.shape, np.inf)
        fill_costs(cross_KK, np.maximum(self._columns["weight"], 1e-9), costs_KK)
        return costs_KK

    def rows(self) -> dict[int, bytes]:
        """All that is known of each cluster since the last `settle`, for `from_rows`."""
        stored_K = np.zeros(len(self), self._stored_row)
        for name, column_K in self._columns.items():
            stored_K[name] = column_K
        return {int(row["cluster"]): row.tobytes() for row in stored_K}

    @classmethod
    def from_rows(cls, rows: Mapping[int, bytes]) -> Features:
        """The result of `rows`, ids ascending."""
        scalars, one_dimension = (_row(dimension).itemsize for dimension in (0, 1))
        sizes = {(len(value) - scalars) // (one_dimension - scalars) for value in rows.values()}
        features = cls(max(sizes, default=0))
        stored_K = np.zeros(max(_LEAST_PLACES, len(rows)), features._stored_row)
        stored_K[: len(rows)] = np.frombuffer(b"".join(rows.values()), features._stored_row)
        features._places = features._of(stored_K)
        features._resize(len(rows))
        return features
