"""Learning: what happens to accepted documents, tick by tick. What is learned moves between ticks only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from curation.batch import Tick
from curation.selection.mixture import Balanced
from curation.ticks import Waiting, boundaries
from curation.topics.lineage import LineageEvent, write_events
from curation.vectors.embedder import held_out
from daemon.stages.all_stages import Stages
from packing.emission import Emission
from packing.held import Sampled
from packing.rows import Row
from state.common_facts import TICKED
from state.epoch import Epoch
from state.fact_table import FactCell, FactOwner, Table
from state.outcomes import LaterReason
from state.segments import Segment
from state.token_arrays import Tokens

NEIGHBOURS = 5


class Learning(FactOwner):
    """From ticks of held documents to rows."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        packing = stages.config.packing
        self._emission = Emission(
            stages.held,
            stages.ledger,
            context_length=packing.context_length,
            shard_rows=packing.shuffle_block_rows,
        )
        self._ticked = FactCell(TICKED, 0)

    def tables(self) -> tuple[Table, ...]:
        """How far the ticks are."""
        return (self._ticked,)

    def advance(self, first_ordinal: int, next_ordinal: int, epoch: Epoch, beat: Callable[[], None]) -> None:
        """The input moved on: take the ticks that this completes. `beat` is called before each."""
        for boundary in boundaries(first_ordinal, next_ordinal):
            beat()
            if self._is_warm(boundary, self._stages.config.embedding.warmup_documents):
                self._take(boundary, epoch)

    def flush(self, next_ordinal: int, epoch: Epoch, *, fill: bool = False) -> None:
        """The end of the input, for now: take the tick that is not complete, then close every row.

        With `fill` none is left for want of a whole quantum.
        """
        if len(self._stages.waiting) and self._is_warm(next_ordinal, 1):
            self._take(next_ordinal, epoch)
        self._emission.emit(self._stages.packer.flush(fill=fill), epoch)

    def _is_warm(self, boundary: int, warmup_documents: int) -> bool:
        """Train on the documents before the boundary if there are enough; whether documents can be embedded."""
        stages = self._stages
        if stages.clusters.is_seeded:
            return True
        if stages.waiting.count(boundary) < warmup_documents:
            return False
        stages.phases.enter("warm_up")
        doc_nos = [document.doc_no for document in stages.waiting if document.ordinal < boundary]
        tokens = self._tokens(doc_nos)
        if not stages.embedder.is_trained:
            stages.retraining.begin(doc_nos, tokens)
        stages.clusters.seed(stages.embedder.embed(held_out(tokens)))
        return True

    def _renew(self) -> None:
        """If a new version of the student is due, it takes over, and everything that is held is embedded by it."""
        stages = self._stages
        stages.phases.enter("retrain")
        renewed = stages.retraining.renew()
        if renewed is None:
            return
        stages.clusters.renew(*renewed)
        stages.packer.restore_embeddings(lambda doc_nos_B: self.vectors(doc_nos_B.tolist()))

    def _take(self, boundary: int, epoch: Epoch) -> None:
        self._ticked.value = boundary
        for documents in self._stages.waiting.take(boundary):
            enter = self._stages.phases.enter
            self._renew()
            tick = self._assign(documents, epoch)
            enter("sample")
            tick = self._sample(tick, epoch)
            enter("balance")
            balanced = self._balance(tick)
            enter("pack")
            rows = self._pack(tick, balanced)
            enter("emit")
            self._emission.emit(rows, epoch)
            self._settle(tick, balanced)

    def _assign(self, documents: Sequence[Waiting], epoch: Epoch) -> Tick:
        """Vectors and clusters. What the tick does to the clusters, bandit and mixture hear at once."""
        stages = self._stages
        doc_nos_B = np.array([document.doc_no for document in documents], np.int64)
        stages.phases.enter("embed")
        tokens = self._tokens([document.doc_no for document in documents])
        embeddings_BD = stages.embedder.embed(tokens)
        stages.retraining.observe(doc_nos_B.tolist(), tokens)
        stages.phases.enter("assign")
        clusters_B = stages.clusters.assign(embeddings_BD, doc_nos_B)
        events = stages.clusters.take_events()
        write_events(events, epoch)
        for event in events:
            self._hear(event)
        if stages.config.bandit.enabled:
            stages.assignments.put(doc_nos_B, clusters_B, epoch)
        return Tick(
            doc_nos_B=doc_nos_B,
            keys_B=np.array([document.key for document in documents], np.uint64),
            sources=tuple(document.source for document in documents),
            num_tokens_B=np.array([document.num_tokens for document in documents], np.int64),
            qualities_B=np.array([document.quality for document in documents], np.float32),
            embeddings_BD=embeddings_BD,
            clusters_B=clusters_B,
            propensities_B=np.ones(len(documents), np.float32),
            policy_version=stages.bandit.policy_version,
        )

    def _hear(self, event: LineageEvent) -> None:
        bandit, mixture = self._stages.bandit, self._stages.mixture
        if event.kind == "merged":
            (winner,) = event.children
            losers = [parent for parent in event.parents if parent != winner]
            bandit.merged(winner, losers)
            mixture.merged(winner, losers)
        elif event.kind == "split":
            (parent,) = event.parents
            bandit.split(parent, list(event.children))
            mixture.split(parent, list(event.children))
        else:
            for child in event.children:
                bandit.founded(child, list(event.parents))

    def _sample(self, tick: Tick, epoch: Epoch) -> Tick:
        """The bandit admits documents, and learns what they are worth."""
        stages = self._stages
        admission = stages.bandit.sample(tick.clusters_B, tick.keys_B, tick.num_tokens_B)
        self._reward(tick, admission.probed_B, epoch)
        stages.bandit.tick(stages.clusters.neighbours(NEIGHBOURS) if stages.config.bandit.enabled else ())
        for doc_no in tick.doc_nos_B[~admission.admitted_B].tolist():
            self._reject(doc_no)
        return replace(tick, propensities_B=admission.propensities_B).keep(admission.admitted_B)

    def _reward(self, tick: Tick, probed_B: NDArray[np.bool_], epoch: Epoch) -> None:
        """The reward is what trainers and scorers said since the last tick; until one ever did, the quality score."""
        bandit, rewards, clusters = self._stages.bandit, self._stages.rewards, self._stages.clusters
        was_heard = rewards.is_heard
        heard = rewards.take(
            clusters.survivor,
            lambda doc_no: self._stages.assignments.find(doc_no, epoch),
            last_doc_no=int(tick.doc_nos_B[-1]),
        )
        if rewards.is_heard and not was_heard:
            bandit.forget_rewards()
        for reward in heard:
            bandit.reward(reward.cluster, reward.value, reward.count)
        if not rewards.is_heard:
            bandit.learn(tick.clusters_B[probed_B], tick.qualities_B[probed_B])

    def _reject(self, doc_no: int) -> None:
        """An accepted document that will not be emitted after all."""
        document = self._stages.held[doc_no]
        self._stages.ledger.reject_later(LaterReason.NOT_SAMPLED, document.unemitted)
        document.unemitted = 0
        self._stages.held.let_go(doc_no)

    def _balance(self, tick: Tick) -> Balanced:
        return self._stages.mixture.balance(
            tick.doc_nos_B, tick.keys_B, tick.clusters_B, tick.num_tokens_B, tick.sources
        )

    def _pack(self, tick: Tick, balanced: Balanced) -> list[Row]:
        """What the mixture gave out, documents of this tick or of earlier ones, to the packer."""
        stages, length = self._stages, self._stages.config.packing.context_length
        held = stages.held
        doc_nos = [doc_no for doc_no, _ in balanced.emitted]
        num_tokens = [len(held[doc_no].tokens) for doc_no in doc_nos]
        for doc_no, tokens in zip(doc_nos, num_tokens, strict=True):
            held.hold(doc_no, -(-tokens // length))
        place_of = {doc_no: place for place, doc_no in enumerate(tick.doc_nos_B.tolist())}
        places_B = np.array([place_of.get(doc_no, -1) for doc_no in doc_nos], np.int64)
        is_new_B = places_B >= 0
        new_B = places_B[is_new_B]
        clusters_B = np.empty(len(doc_nos), np.int32)
        versions_B = np.full(len(doc_nos), tick.policy_version, np.int64)
        propensities_B = np.empty(len(doc_nos), np.float32)
        embeddings_BD = np.empty((len(doc_nos), tick.embeddings_BD.shape[1]), np.float32)
        clusters_B[is_new_B] = tick.clusters_B[new_B]
        propensities_B[is_new_B] = tick.propensities_B[new_B]
        embeddings_BD[is_new_B] = tick.embeddings_BD[new_B]
        for b in np.flatnonzero(~is_new_B).tolist():
            sampled = held.sampled(doc_nos[b])
            assert sampled is not None
            clusters_B[b], versions_B[b] = sampled.cluster, sampled.policy_version
            propensities_B[b] = sampled.propensity
            embeddings_BD[b] = self.vectors([doc_nos[b]])[0]
        return stages.packer.add(
            doc_nos_B=np.array(doc_nos, np.int64),
            num_tokens_B=np.array(num_tokens, np.int64),
            embeddings_BD=embeddings_BD,
            clusters_B=clusters_B,
            policy_versions_B=versions_B,
            propensities_B=propensities_B,
            uses_B=np.array([use for _, use in balanced.emitted], np.int64),
        )

    def vectors(self, doc_nos: Sequence[int]) -> NDArray[np.float32]:
        """Vectors of held documents whose tick is over: a teacher's as they were then, a student's as it sees them."""
        held = self._stages.held
        if self._stages.embedder.stores_vectors:
            sampled = [held.sampled(doc_no) for doc_no in doc_nos]
            return np.stack([np.frombuffer(fact.vector, np.float32) for fact in sampled if fact is not None])
        return self._stages.embedder.embed(self._tokens(doc_nos))

    def _tokens(self, doc_nos: Sequence[int]) -> list[Tokens]:
        return [self._stages.held[doc_no].tokens for doc_no in doc_nos]

    def _settle(self, tick: Tick, balanced: Balanced) -> None:
        """Let go of what the mixture is done with, and write down what it keeps."""
        stages = self._stages
        for doc_no in balanced.evicted:
            self._reject(doc_no)
        for doc_no in balanced.finished:
            stages.held.let_go(doc_no)
        if stages.config.mixture.passes_through() and not stages.embedder.stores_vectors:
            return
        for place, doc_no in enumerate(tick.doc_nos_B.tolist()):
            if doc_no in stages.held:
                vector = tick.embeddings_BD[place].tobytes() if stages.embedder.stores_vectors else b""
                cluster, propensity = int(tick.clusters_B[place]), float(tick.propensities_B[place])
                stages.held.sample(doc_no, Sampled(cluster, tick.policy_version, propensity, vector))

    def restore_waiting(self, segment: Segment, retracted: frozenset[int]) -> None:
        """Documents of a segment that no tick has taken wait again."""
        ordinals_B = segment.column("ordinals", np.int64)
        rows = np.flatnonzero((ordinals_B >= self._ticked.value) & segment.having(lambda stage, reason: not stage))
        sources = segment.column("source_index", np.uint32)
        for row in rows.tolist():
            doc_no = segment.first + row
            if doc_no not in retracted:
                self._stages.waiting.add(
                    Waiting(
                        int(ordinals_B[row]),
                        doc_no,
                        int(segment.keys("id_keys")[row, 0]),
                        segment.sources[sources[row]],
                        float(segment.column("qualities", np.float32)[row]),
                        int(segment.column("num_tokens", np.int64)[row]),
                    )
                )

    def restore_holders(self) -> None:
        """After all stages are restored: who holds which document, and the vectors of those in the pool."""
        stages = self._stages
        holders = [(document.doc_no, document.num_tokens) for document in stages.waiting]
        for doc_no, uses in stages.mixture.held():
            holders.append((doc_no, 0 if uses else len(stages.held[doc_no].tokens)))
        for piece in stages.packer.held_pieces():
            holders.append((piece.doc_no, 0 if piece.use else len(piece)))
        stages.held.restore_holders(holders)
        stages.packer.restore_embeddings(lambda doc_nos_B: self.vectors(doc_nos_B.tolist()))
