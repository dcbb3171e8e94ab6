"""The numbers that go with a document from its tick to the trainer, one record a document.

A number more is a field at the end here, with the value that records of before stand for. It is set where a tick is
composed, and named in the formats that a trainer reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

DOCUMENT: Final = np.dtype(
    [
        ("cluster", "<i4"),
        ("policy_version", "<i4"),  # counts the ticks that changed what the bandit believes
        ("propensity", "<f4"),  # probability with which the document was admitted, for importance weights
        ("weight", "<f4"),  # what its loss is multiplied by
        ("quality", "<f4"),  # 0 (worst) to 1; NaN where it is not known
    ]
)
WEIGHT: Final = "weight"  # the name of that which a document brings along, among scores and measures

# Records of states of before weights: of as many bytes, the fields up to there.
_SHORT_BYTES = 12
_ADDED = np.array([1.0, np.nan], "<f4").tobytes()

Numbers = NDArray[np.void]  # records of DOCUMENT


def make_numbers(
    clusters_B: NDArray[np.integer[Any]],
    policy_versions_B: NDArray[np.integer[Any]] | int,
    propensities_B: ArrayLike,
    weights_B: ArrayLike = 1.0,
    qualities_B: ArrayLike = np.nan,
) -> Numbers:
    """The records of B documents."""
    numbers_B = np.empty(len(clusters_B), DOCUMENT)
    numbers_B["cluster"] = clusters_B
    numbers_B["policy_version"] = policy_versions_B
    numbers_B["propensity"] = propensities_B
    numbers_B["weight"] = weights_B
    numbers_B["quality"] = qualities_B
    return numbers_B


def numbers_from(records: Sequence[bytes]) -> Numbers:
    """The records of documents, each as a fact holds it, those of an earlier version included.

    >>> numbers_from([np.array([(3, 1, 0.5, 2.0, 0.9)], DOCUMENT).tobytes()])["weight"].tolist()
    [2.0]
    """
    return np.frombuffer(b"".join([r + _ADDED if len(r) == _SHORT_BYTES else r for r in records]), DOCUMENT)


def joined_numbers(records: bytes, num_documents: int) -> Numbers:
    """The records of documents that a fact holds together."""
    if len(records) == num_documents * DOCUMENT.itemsize:
        return np.frombuffer(records, DOCUMENT)
    return numbers_from([records[at : at + _SHORT_BYTES] for at in range(0, len(records), _SHORT_BYTES)])


def as_bytes(numbers_B: Numbers) -> list[bytes]:
    """Each record as a fact holds it."""
    records, size = numbers_B.tobytes(), DOCUMENT.itemsize
    return [records[at : at + size] for at in range(0, len(records), size)]


class DocumentNumbers(TypedDict):
    """One record, for people."""

    cluster: int
    policy_version: int
    propensity: float
    weight: float
    quality: float


def named(record: np.void) -> DocumentNumbers:
    """A record by the names of its fields.

    >>> named(np.array([(3, 1, 0.5, 2.0, 0.75)], DOCUMENT)[0])
    {'cluster': 3, 'policy_version': 1, 'propensity': 0.5, 'weight': 2.0, 'quality': 0.75}
    """
    cluster, policy_version, propensity, weight, quality = record.item()
    return DocumentNumbers(
        cluster=cluster, policy_version=policy_version, propensity=propensity, weight=weight, quality=quality
    )
