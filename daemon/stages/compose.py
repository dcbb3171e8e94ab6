"""Compose: from ticks of accepted documents to rows. All that is learned moves between ticks only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from curation.batch import Tick
from curation.selection.bandit import Bandit
from curation.selection.mixture import Balanced, Mixture
from curation.selection.rewards import Rewards
from curation.ticks import Accepted
from curation.topics.clusters import Clusters
from curation.topics.lineage import LineageEvent, write_events
from curation.vectors.embedder import Embedder, held_out
from curation.vectors.retraining import Retraining
from ops.phases import PhaseClock
from packing.held import HeldDocuments, Sampled
from packing.packer import Packer
from packing.rows import Row
from state.assignments import Assignments
from state.document_numbers import DOCUMENT, make_numbers, numbers_from
from state.epoch import Epoch
from state.fact_table import FactOwner
from state.ledger import Ledger
from state.outcomes import LaterReason
from state.token_arrays import Tokens

NEIGHBOURS = 5


@dataclass(frozen=True, slots=True)
class Composed:
    """A tick, what the mixture made of it, and the rows that became final by it."""

    tick: Tick
    balanced: Balanced
    rows: list[Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compose:
    """The stages that learn."""

    embedder: Embedder
    retraining: Retraining
    clusters: Clusters
    bandit: Bandit
    rewards: Rewards
    assignments: Assignments
    mixture: Mixture
    packer: Packer
    held: HeldDocuments
    ledger: Ledger
    phases: PhaseClock
    learns_rewards: bool  # whether the bandit is on
    keeps_documents: bool  # whether the mixture holds documents back
    makes_vectors: bool  # whether anything reads vectors and clusters
    context_length: int

    def owners(self) -> tuple[FactOwner, ...]:
        """The parts that own facts."""
        return self.retraining, self.clusters, self.bandit, self.rewards, self.mixture, self.packer

    def warm_up(self, waiting: Accepted, num_documents: int) -> bool:
        """Train the student on the documents that wait, if there are enough; whether documents can be composed."""
        if self.clusters.is_seeded or not self.makes_vectors:
            return True
        if len(waiting) < num_documents:
            return False
        self.phases.enter("warm_up")
        doc_nos = waiting.doc_nos_B.tolist()
        tokens = self._tokens(doc_nos)
        if not self.embedder.is_trained:
            self.retraining.begin(doc_nos, tokens)
        self.clusters.seed(self.embedder.embed(held_out(tokens)))
        self.packer.restore_embeddings(self._packed_vectors)  # of documents that were packed without
        return True

    def compose(self, documents: Accepted, epoch: Epoch) -> Composed:
        """Take the documents of a tick: assign, sample, balance, pack."""
        enter = self.phases.enter
        self._renew()
        tick = self._assign(documents, epoch)
        enter("sample")
        tick = self._sample(tick, epoch)
        enter("balance")
        balanced = self._balance(tick)
        enter("pack")
        return Composed(tick, balanced, self._pack(tick, balanced))

    def _renew(self) -> None:
        """If a new version of the student is due, it takes over, and everything that is held is embedded by it."""
        self.phases.enter("retrain")
        renewed = self.retraining.renew()
        if renewed is None:
            return
        self.clusters.renew(*renewed)
        self.packer.restore_embeddings(self._packed_vectors)

    def _assign(self, documents: Accepted, epoch: Epoch) -> Tick:
        """Vectors and clusters. Bandit and mixture follow at once as clusters split and merge."""
        if self.makes_vectors:
            embeddings_BD, clusters_B = self._find_clusters(documents.doc_nos_B, epoch)
        else:
            embeddings_BD, clusters_B = np.zeros((len(documents), 0), np.float32), np.zeros(len(documents), np.int32)
        return Tick(
            doc_nos_B=documents.doc_nos_B,
            keys_B=documents.keys_B,
            sources=documents.sources,
            num_tokens_B=documents.num_tokens_B,
            qualities_B=documents.qualities_B,
            embeddings_BD=embeddings_BD,
            clusters_B=clusters_B,
            propensities_B=np.ones(len(documents), np.float32),
            policy_version=self.bandit.policy_version,
        )

    def _find_clusters(
        self, doc_nos_B: NDArray[np.int64], epoch: Epoch
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        self.phases.enter("embed")
        doc_nos = doc_nos_B.tolist()
        tokens = self._tokens(doc_nos)
        embeddings_BD = self.embedder.embed(tokens)
        self.retraining.observe(doc_nos, tokens)
        self.phases.enter("assign")
        clusters_B = self.clusters.assign(embeddings_BD, doc_nos_B)
        events = self.clusters.take_events()
        write_events(events, epoch)
        for event in events:
            self._hear(event)
        if self.learns_rewards:
            self.assignments.put(doc_nos_B, clusters_B, epoch)
        return embeddings_BD, clusters_B

    def _hear(self, event: LineageEvent) -> None:
        bandit, mixture = self.bandit, self.mixture
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
        admission = self.bandit.sample(tick.clusters_B, tick.keys_B, tick.num_tokens_B)
        self._reward(tick, admission.probed_B, epoch)
        self.bandit.tick(self.clusters.neighbours(NEIGHBOURS) if self.learns_rewards else ())
        for doc_no in tick.doc_nos_B[~admission.admitted_B].tolist():
            self._reject(doc_no)
        return replace(tick, propensities_B=admission.propensities_B).keep(admission.admitted_B)

    def _reward(self, tick: Tick, probed_B: NDArray[np.bool_], epoch: Epoch) -> None:
        """The reward is what trainers and scorers said since the last tick; until one ever did, the quality score."""
        bandit, rewards, clusters = self.bandit, self.rewards, self.clusters
        was_heard = rewards.is_heard
        heard = rewards.take(
            clusters.survivor,
            lambda doc_no: self.assignments.find(doc_no, epoch),
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
        document = self.held[doc_no]
        self.ledger.reject_later(LaterReason.NOT_SAMPLED, document.unemitted)
        document.unemitted = 0
        self.held.let_go(doc_no)

    def _balance(self, tick: Tick) -> Balanced:
        return self.mixture.balance(tick.doc_nos_B, tick.keys_B, tick.clusters_B, tick.num_tokens_B, tick.sources)

    def _pack(self, tick: Tick, balanced: Balanced) -> list[Row]:
        """Hand the mixture's documents, of this tick or of earlier ones, to the packer."""
        length = self.context_length
        held = self.held
        doc_nos = [doc_no for doc_no, _ in balanced.emitted]
        num_tokens = [len(held[doc_no].tokens) for doc_no in doc_nos]
        for doc_no, tokens in zip(doc_nos, num_tokens, strict=True):
            held.hold(doc_no, -(-tokens // length))
        place_of = {doc_no: place for place, doc_no in enumerate(tick.doc_nos_B.tolist())}
        places_B = np.array([place_of.get(doc_no, -1) for doc_no in doc_nos], np.int64)
        is_new_B = places_B >= 0
        new_B = places_B[is_new_B]
        numbers_B = np.empty(len(doc_nos), DOCUMENT)
        embeddings_BD = np.empty((len(doc_nos), tick.embeddings_BD.shape[1]), np.float32)
        numbers_B[is_new_B] = make_numbers(tick.clusters_B, tick.policy_version, tick.propensities_B)[new_B]
        embeddings_BD[is_new_B] = tick.embeddings_BD[new_B]
        for b in np.flatnonzero(~is_new_B).tolist():
            sampled = held.sampled(doc_nos[b])
            assert sampled is not None
            numbers_B[b] = numbers_from(sampled.numbers)[0]
            embeddings_BD[b] = self.vectors([doc_nos[b]])[0]
        return self.packer.add(
            doc_nos_B=np.array(doc_nos, np.int64),
            num_tokens_B=np.array(num_tokens, np.int64),
            embeddings_BD=embeddings_BD,
            numbers_B=numbers_B,
            uses_B=np.array([use for _, use in balanced.emitted], np.int64),
        )

    def vectors(self, doc_nos: Sequence[int]) -> NDArray[np.float32]:
        """Vectors of held documents whose tick is over: a teacher's as they were then, a student's as it sees them.

        They have no dimension before the first clusters, and where nothing reads them.
        """
        if not (self.makes_vectors and self.clusters.is_seeded):
            return np.zeros((len(doc_nos), 0), np.float32)
        if not self.embedder.stores_vectors:
            return self.embedder.embed(self._tokens(doc_nos))
        vectors_BD = np.zeros((len(doc_nos), self.clusters.dimension), np.float32)
        vectors_BD[:, 0] = 1.0  # a document that got none in its tick has no direction
        for b, doc_no in enumerate(doc_nos):
            sampled = self.held.sampled(doc_no)
            if sampled is not None and sampled.vector:
                vectors_BD[b] = np.frombuffer(sampled.vector, np.float32)
        return vectors_BD

    def _packed_vectors(self, doc_nos_B: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.vectors(doc_nos_B.tolist())

    def _tokens(self, doc_nos: Sequence[int]) -> list[Tokens]:
        return [self.held[doc_no].tokens for doc_no in doc_nos]

    def release(self, composed: Composed) -> None:
        """After emission: let go of the documents that the mixture is done with, and write down those that it keeps."""
        tick, balanced = composed.tick, composed.balanced
        for doc_no in balanced.evicted:
            self._reject(doc_no)
        for doc_no in balanced.finished:
            self.held.let_go(doc_no)
        stores_vectors = self.makes_vectors and self.embedder.stores_vectors
        if not self.keeps_documents and not stores_vectors:
            return
        numbers_B = make_numbers(tick.clusters_B, tick.policy_version, tick.propensities_B)
        for place, doc_no in enumerate(tick.doc_nos_B.tolist()):
            if doc_no in self.held:
                vector = tick.embeddings_BD[place].tobytes() if stores_vectors else b""
                self.held.sample(doc_no, Sampled(numbers_B[place].tobytes(), vector))

    def restore_holders(self, waiting: Accepted) -> None:
        """After all stages are restored: who holds which document, and the vectors of those in the pool."""
        holders = list(zip(waiting.doc_nos_B.tolist(), waiting.num_tokens_B.tolist(), strict=True))
        for doc_no, uses in self.mixture.held():
            holders.append((doc_no, 0 if uses else len(self.held[doc_no].tokens)))
        for piece in self.packer.held_pieces():
            holders.append((piece.doc_no, 0 if piece.use else len(piece)))
        self.held.restore_holders(holders)
        self.packer.restore_embeddings(self._packed_vectors)
