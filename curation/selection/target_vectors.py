"""Likeness to a target by vectors: the log density of wanted documents where a document is, less that of the stream's.

DSIR's weight log p - log q, of densities over unit vectors in place of shares of n-grams: p at x is the mean of
exp(x.w / TEMPERATURE) over the wanted documents w, a mixture of von Mises-Fisher distributions (Banerjee et al.,
"Clustering on the unit hypersphere", JMLR 2005). It knows a wanted topic by other words, and takes several topics
apart, for which the nearest of them counts; without q, what the stream is full of would be like everything.

To be bounded, either side is of at most MAX_DOCUMENTS, in PROTOTYPES groups, and a group stands for its documents by
their mean: shorter than 1, so that a scattered group says less. Likeness is in deviations over the stream's sample.

Vectors are the student's, so the densities belong to a version of it, and are made anew for the next. They are a fact,
for a teacher does not give the same bits on every machine.

Shape legend: B documents of a tick, S documents of one side, G groups of both sides, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from curation.selection.reward_sources import TARGET
from curation.selection.target_facts import FAMILY, LIKENESS, Likeness
from curation.ticks import Accepted
from curation.topics.isodata import spherical_kmeans
from kernels.features import sum_by_label
from kernels.products import products
from state.epoch import Epoch
from state.fact_table import FactCell, FactOwner, Table
from state.facts import NOTHING, Facts, packed
from state.token_arrays import Tokens

TEMPERATURE = 0.1
PROTOTYPES = 64  # of either side
MAX_DOCUMENTS = 2048  # of either side

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The wanted documents and a sample of the stream, as tokens."""

    wanted: Sequence[Tokens]
    against: Sequence[Tokens]
    digest: str  # of the texts


class Densities(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Fact: the two densities, by a version of the student and for a reference."""

    version: int = -1
    digest: str = ""
    means: bytes = b""  # f32 [G, D] over TEMPERATURE, the wanted ones first
    log_shares: bytes = b""  # f64 [G], of their side
    num_wanted: int = 0  # groups
    mean: float = 0.0  # of the difference over the stream's sample
    deviation: float = 1.0

    def differences(self, vectors_BD: Vectors) -> NDArray[np.float64]:
        """Log density of the wanted less that of the stream."""
        means_GD = np.frombuffer(self.means, np.float32).reshape(-1, vectors_BD.shape[1])
        logs_BG = products(vectors_BD, means_GD).astype(np.float64) + np.frombuffer(self.log_shares)
        return _log_sums(logs_BG[:, : self.num_wanted]) - _log_sums(logs_BG[:, self.num_wanted :])


_DENSITIES = Facts(FAMILY, NOTHING, packed(Densities), prefix=b"d")


class TargetVectors(FactOwner):
    """Likeness by vectors; off without a reference."""

    def __init__(self, reference: Reference | None) -> None:
        self._reference = reference
        self._cell = FactCell(_DENSITIES, Densities())

    @property
    def is_on(self) -> bool:
        """Whether documents are measured."""
        return self._reference is not None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the score."""
        return (TARGET,) if self.is_on else ()

    def tables(self) -> tuple[Table, ...]:
        """The densities."""
        return (self._cell,)

    def follow(self, version: int, embed: Callable[[Sequence[Tokens]], Vectors]) -> None:
        """Be of this version of the vectors, which `embed` makes."""
        reference = self._reference
        if reference is None or (self._cell.value.version, self._cell.value.digest) == (version, reference.digest):
            return
        found = estimate(embed(_some(reference.wanted)), embed(_some(reference.against)))
        self._cell.value = msgspec.structs.replace(found, version=version, digest=reference.digest)

    def score(self, documents: Accepted, vectors_BD: Vectors, epoch: Epoch) -> Vectors:
        """The scores of the documents of a tick, and behind them likeness, in deviations of the stream's sample."""
        if not self.is_on:
            return documents.scores_BM
        densities = self._cell.value
        likeness_B = (densities.differences(vectors_BD) - densities.mean) / densities.deviation
        values_B = likeness_B.astype(np.float32)
        fact = Likeness(doc_nos=documents.doc_nos_B.tobytes(), values=values_B.tobytes())
        LIKENESS.put(epoch, documents.tick_no, fact)
        return np.column_stack((documents.scores_BM, values_B))


def estimate(wanted_SD: Vectors, against_SD: Vectors) -> Densities:
    """The densities of these vectors."""
    wanted_GD, wanted_G = _groups(wanted_SD)
    against_GD, against_G = _groups(against_SD)
    means_GD = np.concatenate((wanted_GD, against_GD)) / TEMPERATURE
    densities = Densities(
        means=means_GD.astype(np.float32).tobytes(),
        log_shares=np.log(np.concatenate((wanted_G, against_G))).tobytes(),
        num_wanted=len(wanted_G),
    )
    differences_S = densities.differences(against_SD)
    return msgspec.structs.replace(
        densities, mean=float(differences_S.mean()), deviation=float(differences_S.std()) or 1.0
    )


def _groups(vectors_SD: Vectors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of the groups, [G, D], and their shares of the documents."""
    num_groups = min(PROTOTYPES, len(vectors_SD))
    labels_S = spherical_kmeans(vectors_SD, num_groups, np.random.default_rng(0), restarts=1)
    sizes_G = np.bincount(labels_S, minlength=num_groups)
    sums_GD = np.zeros((num_groups, vectors_SD.shape[1]))
    sum_by_label(vectors_SD, labels_S, sums_GD)
    used_G = sizes_G > 0
    return sums_GD[used_G] / sizes_G[used_G, None], sizes_G[used_G] / len(labels_S)


def _log_sums(logs_BG: NDArray[np.float64]) -> NDArray[np.float64]:
    """The log of the sum of what these are the logs of, a row."""
    highest_B = logs_BG.max(axis=1)
    sums_B: NDArray[np.float64] = np.log(np.exp(logs_BG - highest_B[:, None]).sum(axis=1)) + highest_B
    return sums_B


def _some(documents: Sequence[Tokens]) -> list[Tokens]:
    """At most MAX_DOCUMENTS, from all over."""
    places = np.linspace(0, len(documents) - 1, min(MAX_DOCUMENTS, len(documents))).astype(np.int64)
    return [documents[place] for place in places.tolist()]
