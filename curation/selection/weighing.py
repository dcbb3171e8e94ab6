"""Weighing: what the loss of a document is multiplied by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from state.document_numbers import WEIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighing:
    """Where the numbers are that documents are weighed by."""

    names: tuple[str, ...]  # of the scores, as documents have them

    def given(self, scores_BM: NDArray[np.float32]) -> NDArray[np.float32]:
        """Weights that documents bring along; 1 for those without."""
        if WEIGHT not in self.names:
            return np.ones(len(scores_BM), np.float32)
        given_B = scores_BM[:, self.names.index(WEIGHT)]
        return np.where(np.isnan(given_B), np.float32(1), given_B)
