"""Feedback: messages of trainers and scorers, joined with what the state knows of the sequences they are about.

Two of them teach nothing: a run says from where on it may still read, and somebody wishes that the stream end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from consumers.broker import RawDocument, RawFeedback
from consumers.formats.dead_letters import dead_letter
from consumers.formats.feedback import decode_feedback
from curation.selection.loss_curves import Losses
from curatord.errors import Undecodable
from curatord.records import EndRequest, Feedback, Reward, SafePoint
from daemon.stages.all_stages import Stages
from state.epoch import Epoch


class FeedbackJoin:
    """From messages to what the next tick learns. `end` ends the stream with the epoch."""

    def __init__(self, stages: Stages, doc_no_of: Callable[[str], int], end: Callable[[Epoch], None]) -> None:
        self._stages = stages
        self._doc_no_of = doc_no_of  # -1: never read, or retracted
        self._end = end

    def learn_from(self, records: Sequence[RawFeedback], epoch: Epoch) -> None:
        """Take messages in, in order. Never raises on content."""
        rewards = self._stages.rewards
        for raw in records:
            epoch.positions[raw.source] = raw.position + 1
            try:
                if raw.problem is not None:
                    raise raw.problem
                record = decode_feedback(raw.value)
            except Undecodable as error:
                limit = self._stages.config.dead_letters.max_bytes
                row = RawDocument(raw.source, raw.position, raw.value or b"")
                epoch.dead_letters.append(dead_letter(error, row, limit))
                rewards.count("dead")
                continue
            if isinstance(record, SafePoint):
                self._stages.safe_points.take(record)
                rewards.count("safe_point")
            elif isinstance(record, EndRequest):
                self._end(epoch)
                rewards.count("end_request")
            elif not self._stages.config.bandit.enabled:
                rewards.count("unused")
            elif isinstance(record, Reward):
                rewards.count(self._reward(record, epoch))
            elif rewards.admit(record):
                rewards.count(self._report(record, epoch))

    def _reward(self, record: Reward, epoch: Epoch) -> str:
        """Gather a plain reward; the outcome."""
        stages = self._stages
        cluster = record.cluster
        if record.doc_id is not None:
            doc_no = self._doc_no_of(record.doc_id)
            cluster = stages.assignments.find(doc_no, epoch) if doc_no >= 0 else None
            if cluster is None:
                if not any(document.doc_no == doc_no for document in stages.waiting):
                    return "unknown_document"
                stages.rewards.reward_document(doc_no, record.reward)
                return "learned"
        assert cluster is not None
        survivor = stages.clusters.survivor(cluster)
        if survivor is None:
            return "unknown_cluster"
        stages.rewards.reward_cluster(survivor, record.reward)
        return "learned"

    def _report(self, record: Feedback, epoch: Epoch) -> str:
        """Gather the losses of a trainer's step; the outcome.

        A sequence counts only if it has as many segments as were emitted. Only the first segment of a document is
        looked at: the others begin without what came before them, so their loss says less of the document.
        """
        rewards = self._stages.rewards
        seq_nos_N = record.first_seq_no + record.stride * np.arange(record.count, dtype=np.int64)
        placed = self._stages.placements.find(record.generation, seq_nos_N, epoch)
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
        num_targets_S = num_targets_S[usable_S]
        rewards.observe(
            record.run_id,
            record.step,
            Losses(
                clusters_S=placed.clusters_S[ours_S][usable_S],
                losses_S=sums_S[usable_S] / num_targets_S,
                num_targets_S=num_targets_S,
                propensities_S=placed.propensities_S[ours_S][usable_S].astype(np.float64),
            ),
        )
        return "learned"
