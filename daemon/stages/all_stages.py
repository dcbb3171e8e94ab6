"""Stages: every part of the pipeline, built from the configuration. `curate`, `run` and `validate` all build here."""

from __future__ import annotations

from dataclasses import dataclass, field

from curation.dedup.exact import ExactDedup
from curation.dedup.near import NearDedup
from curation.dedup.removal_guard import RemovalSurge
from curation.quality.judge import Quality
from curation.selection.bandit import Bandit
from curation.selection.mixture import Mixture
from curation.selection.rewards import Rewards
from curation.ticks import TickBuffer
from curation.topics.clusters import Clusters
from curation.vectors.embedder import Embedder
from curation.vectors.retraining import Retraining
from daemon.config import Config
from daemon.stages.examples import Examples
from daemon.stages.verdict_rows import VerdictRows
from daemon.stages.workers import Workers
from ops.phases import PhaseClock
from packing.held import HeldDocuments
from packing.packer import Packer
from packing.placements import PlacementIndex
from packing.tokenizer import Tokenizer
from state.assignments import Assignments
from state.ledger import Ledger
from state.safe_points import SafePoints
from state.segments import Segments


@dataclass(slots=True, kw_only=True)
class Stages:
    """One of each."""

    config: Config
    workers: Workers
    phases: PhaseClock
    ledger: Ledger
    segments: Segments
    exact_dedup: ExactDedup
    quality: Quality
    near_dedup: NearDedup
    tokenizer: Tokenizer
    held: HeldDocuments
    waiting: TickBuffer
    embedder: Embedder
    retraining: Retraining
    clusters: Clusters
    bandit: Bandit
    rewards: Rewards
    safe_points: SafePoints
    assignments: Assignments
    placements: PlacementIndex
    mixture: Mixture
    packer: Packer
    verdict_rows: VerdictRows
    examples: Examples
    surges: list[RemovalSurge] = field(default_factory=list)  # of the open epoch

    def close(self) -> None:
        """End all threads."""
        self.retraining.close()
        self.workers.close()
