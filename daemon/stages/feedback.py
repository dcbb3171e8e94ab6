"""Feedback: messages of trainers and scorers, joined with what the state knows of the sequences they are about.

Two of them teach nothing: a run says from where on it may still read, and an operator wishes that the stream end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.broker import RawDocument, RawFeedback
from consumers.formats.dead_letters import dead_letter
from consumers.formats.feedback import decode_feedback
from curation.selection.loss_curves import Losses
from curation.selection.loss_shares import LossShares
from curation.selection.mixture import Mixture
from curation.selection.reward_sources import SCORER
from curation.selection.rewards import Rewards
from curation.selection.scored import Scored
from curation.ticks import TickBuffer
from curation.topics.clusters import Clusters
from curatord.errors import Undecodable
from curatord.records import EndRequest, Feedback, Reward, SafePoint, Weights
from daemon.stages.mask import MaskArrivals
from packing.placements import PlacementIndex
from state.assignments import Assignments
from state.epoch import Epoch
from state.safe_points import SafePoints
from state.segments import Segments


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackJoin:
    """From messages to what the next tick learns."""

    rewards: Rewards
    scored: Scored
    safe_points: SafePoints
    placements: PlacementIndex
    assignments: Assignments
    clusters: Clusters
    waiting: TickBuffer
    doc_no_of: Callable[[str], int]  # -1: never read, or retracted
    faded: Callable[[int], float]  # what the bandit would have left of a reward of a document by now
    learns_losses: bool  # whether the bandit makes anything of the losses of trainers
    loss_shares: LossShares
    mixture: Mixture
    segments: Segments
    max_dead_letter_bytes: int
    mask: MaskArrivals | None = None

    def learn_from(self, records: Sequence[RawFeedback], epoch: Epoch, end: Callable[[Epoch], None]) -> None:
        """Take messages in, in order. `end` ends the stream with the epoch. Never raises on content."""
        rewards = self.rewards
        for raw in records:
            epoch.positions[raw.source] = raw.position + 1
            try:
                if raw.problem is not None:
                    raise raw.problem
                record = decode_feedback(raw.value)
            except Undecodable as error:
                row = RawDocument(raw.source, raw.position, raw.value or b"")
                letter = dead_letter(error, row, self.max_dead_letter_bytes)
                epoch.dead_letters.append(letter if self.mask is None else self.mask.letter(letter))
                rewards.count("dead")
                continue
            if isinstance(record, SafePoint):
                self.safe_points.take(record)
                rewards.count("safe_point")
            elif isinstance(record, EndRequest):
                end(epoch)
                rewards.count("end_request")
            elif isinstance(record, Weights):
                rewards.count("learned" if self.mixture.replace_weights(record.weights) else "unused")
            elif isinstance(record, Reward):
                rewards.count(self._reward(record, epoch) if _scorer(record) in rewards.sources else "unused")
            elif not self.learns_losses and not self.loss_shares.is_on:
                rewards.count("unused")
            elif rewards.admit(record):
                rewards.count(self._report(record, epoch))

    def _reward(self, record: Reward, epoch: Epoch) -> str:
        """Gather a plain reward; the outcome."""
        cluster, doc_no = record.cluster, None
        if record.doc_id is not None:
            doc_no = self.doc_no_of(record.doc_id)
            cluster = self.assignments.find(doc_no, epoch) if doc_no >= 0 else None
            if cluster is None and doc_no not in self.waiting:
                return "unknown_document"
        survivor = None if cluster is None else self.clusters.survivor(cluster)
        if cluster is not None and survivor is None:
            return "unknown_cluster"
        outcome, count = self._count_of(record, doc_no)
        if outcome == "learned" and survivor is not None:
            self.rewards.reward_cluster(survivor, record.reward, _scorer(record), count)
        elif outcome == "learned" and doc_no is not None:
            self.rewards.reward_document(doc_no, record.reward, _scorer(record), count)
        return outcome

    def _count_of(self, record: Reward, doc_no: int | None) -> tuple[str, float]:
        """The outcome of a reward, and how many rewards it counts as: less, the later it comes."""
        if record.checkpoint is None:
            return "learned", 1.0
        outcome, count = self.scored.weigh(record.scorer, record.checkpoint, doc_no)
        return outcome, count if doc_no is None else count * self.faded(doc_no)

    def _report(self, record: Feedback, epoch: Epoch) -> str:
        """Gather the losses of a trainer's step; the outcome.

        A sequence counts only if it has as many segments as were emitted. Only the first segment of a document is
        looked at: the others begin without what came before them, so their loss says less of the document.
        """
        rewards = self.rewards
        seq_nos_N = record.first_seq_no + record.stride * np.arange(record.count, dtype=np.int64)
        placed = self.placements.find(record.generation, seq_nos_N, epoch)
        reported_N = np.frombuffer(record.num_segments, "<u2").astype(np.int64)
        known_N = placed.num_segments_N >= 0
        agrees_N = known_N & (placed.num_segments_N == reported_N)
        rewards.count("sequences_unknown", int((~known_N).sum()))
        rewards.count("sequences_mismatched", int((known_N & ~agrees_N).sum()))
        rewards.count("sequences_learned", int(agrees_N.sum()))
        if not agrees_N.any():
            return "unknown_sequences"
        ours_S = np.repeat(agrees_N[known_N], placed.num_segments_N[known_N])
        theirs_S = np.repeat(agrees_N, reported_N)
        sums_S = np.frombuffer(record.sum_nll, "<f4").astype(np.float64)[theirs_S]
        num_targets_S = np.frombuffer(record.num_targets, "<u4").astype(np.int64)[theirs_S]
        usable_S = (placed.starts_S[ours_S] == 0) & (num_targets_S > 0) & np.isfinite(sums_S) & (sums_S >= 0)
        num_targets_S, sums_S = num_targets_S[usable_S], sums_S[usable_S]
        numbers_S = placed.numbers_S[ours_S][usable_S]
        if self.loss_shares.is_on:
            domains_S = self._domains(placed.doc_nos_S[ours_S][usable_S], numbers_S["cluster"], epoch)
            self.loss_shares.observe(record.run_id, _sums_by(domains_S, sums_S, num_targets_S))
        if not self.learns_losses:
            return "learned"
        rewards.observe(
            record.run_id,
            record.step,
            Losses(
                clusters_S=numbers_S["cluster"].copy(),
                losses_S=sums_S / num_targets_S,
                num_targets_S=num_targets_S,
                propensities_S=numbers_S["propensity"].astype(np.float64),
            ),
        )
        return "learned"

    def _domains(self, doc_nos_S: NDArray[np.int64], clusters_S: NDArray[np.integer[Any]], epoch: Epoch) -> list[str]:
        """The source or cluster, as it is now, that each document's losses are of."""
        domains = [""] * len(doc_nos_S)
        for place in np.argsort(doc_nos_S, kind="stable").tolist():  # a segment holds neighbours
            segment, row = self.segments.find(int(doc_nos_S[place]), epoch)
            source = segment.sources[int(segment.column("source_index", np.uint32)[row])]
            cluster = int(clusters_S[place])
            domains[place] = self.mixture.domain_of(source, self.clusters.survivor(cluster) or cluster)
        return domains


def _sums_by(
    domains_S: Sequence[str], sums_S: NDArray[np.float64], num_targets_S: NDArray[np.int64]
) -> dict[str, tuple[float, int]]:
    """Summed losses and numbers of targets by domain."""
    sums: dict[str, tuple[float, int]] = {}
    for domain, loss, targets in zip(domains_S, sums_S.tolist(), num_targets_S.tolist(), strict=True):
        known = sums.get(domain, (0.0, 0))
        sums[domain] = known[0] + loss, known[1] + targets
    return dict(sorted(sums.items()))


def _scorer(reward: Reward) -> str:
    """The source of rewards that it belongs to."""
    return reward.scorer or SCORER
