"""The numbers that go with a document from its tick to the trainer, one record a document.

A number more is a field here. It is set where a tick is composed, and named in the formats that a trainer reads.
"""

from __future__ import annotations

from typing import Any, Final, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

DOCUMENT: Final = np.dtype(
    [
        ("cluster", "<i4"),
        ("policy_version", "<i4"),  # counts the ticks that changed what the bandit believes
        ("propensity", "<f4"),  # probability with which the document was admitted, for importance weights
    ]
)

Numbers = NDArray[np.void]  # records of DOCUMENT


def make_numbers(
    clusters_B: NDArray[np.integer[Any]], policy_versions_B: NDArray[np.integer[Any]] | int, propensities_B: ArrayLike
) -> Numbers:
    """The records of B documents."""
    numbers_B = np.empty(len(clusters_B), DOCUMENT)
    numbers_B["cluster"] = clusters_B
    numbers_B["policy_version"] = policy_versions_B
    numbers_B["propensity"] = propensities_B
    return numbers_B


def numbers_from(records: bytes) -> Numbers:
    """The records that a fact holds.

    >>> numbers = np.array([(3, 1, 0.5)], DOCUMENT)
    >>> numbers_from(numbers.tobytes())["cluster"].tolist()
    [3]
    """
    return np.frombuffer(records, DOCUMENT)


def as_bytes(numbers_B: Numbers) -> list[bytes]:
    """Each record as a fact holds it."""
    records, size = numbers_B.tobytes(), DOCUMENT.itemsize
    return [records[at : at + size] for at in range(0, len(records), size)]


class DocumentNumbers(TypedDict):
    """One record, for people."""

    cluster: int
    policy_version: int
    propensity: float


def named(record: np.void) -> DocumentNumbers:
    """A record by the names of its fields.

    >>> named(np.array([(3, 1, 0.5)], DOCUMENT)[0])
    {'cluster': 3, 'policy_version': 1, 'propensity': 0.5}
    """
    cluster, policy_version, propensity = record.item()
    return DocumentNumbers(cluster=cluster, policy_version=policy_version, propensity=propensity)
