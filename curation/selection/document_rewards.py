"""Rewards that are known of every document when it is read: by the rules, a head, or the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.batch import Tick
from curation.selection.reward_sources import RULES, TARGET
from curation.selection.target_facts import worths


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRewards:
    """The sources among those of the bandit, and where their numbers are."""

    sources: tuple[str, ...]  # as [bandit] reward names them
    models: tuple[str, ...]  # names of the scores, as documents have them

    def of(self, tick: Tick) -> Mapping[str, NDArray[np.float32]]:
        """The rewards of the documents of a tick, by source; NaN where there is none."""
        rewards = {}
        for source in self.sources:
            if source == RULES:
                rewards[source] = tick.qualities_B
            elif source == TARGET:
                rewards[source] = self.worths(tick)
            elif source in self.models:
                rewards[source] = tick.scores_BM[:, self.models.index(source)]
        return rewards

    def worths(self, tick: Tick) -> NDArray[np.float32]:
        """By the target."""
        return worths(tick.scores_BM, self.models)

    def is_relative(self, source: str) -> bool:
        """Whether a reward says nothing of one language or source against another."""
        return source != TARGET
