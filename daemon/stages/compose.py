"""Compose: from ticks of accepted documents to rows. All that is learned moves between ticks only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from curation.batch import Tick
from curation.selection.bandit import Bandit
from curation.selection.corpus_order import CorpusOrder
from curation.selection.document_rewards import DocumentRewards
from curation.selection.loss_shares import LossShares
from curation.selection.mixture import Balanced, Mixture
from curation.selection.rewards import Rewards
from curation.selection.strata import strata_of
from curation.selection.target_gate import TargetGate
from curation.selection.target_vectors import TargetVectors
from curation.selection.weighing import Weighing
from curation.ticks import TICK_ORDINALS, Accepted
from curation.topics.clusters import Clusters
from curation.topics.lineage import LineageEvent, write_events
from curation.vectors.embedder import Embedder, held_out
from curation.vectors.retraining import Retraining
from daemon.stages.probes import Probing
from kernels.products import products
from ops.phases import PhaseClock
from packing.held import HeldDocuments
from packing.packer import Packer
from packing.pieces import lengths
from packing.rows import Rows
from packing.sampled import Sampled
from state.assignments import Assignments
from state.document_numbers import DOCUMENT, Numbers, make_numbers, numbers_from
from state.epoch import Epoch
from state.fact_table import FactOwner
from state.ledger import Ledger
from state.outcomes import LaterReason
from state.token_arrays import Tokens

NEIGHBOURS = 5

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Composed:
    """A tick, what the mixture made of it, and the rows that became final by it."""

    tick: Tick
    balanced: Balanced
    rows: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Compose:
    """The stages that learn."""

    embedder: Embedder
    retraining: Retraining
    clusters: Clusters
    bandit: Bandit
    rewards: Rewards
    document_rewards: DocumentRewards
    target: TargetGate
    target_vectors: TargetVectors
    weighing: Weighing
    assignments: Assignments
    mixture: Mixture
    corpus_order: CorpusOrder
    loss_shares: LossShares
    packer: Packer
    probing: Probing
    held: HeldDocuments
    ledger: Ledger
    phases: PhaseClock
    learns_rewards: bool  # whether the bandit is on
    keeps_documents: bool  # whether the mixture holds documents back
    orders_corpus: bool  # whether all documents wait for the end of the input
    makes_vectors: bool  # whether anything reads vectors and clusters
    context_length: int

    def owners(self) -> tuple[FactOwner, ...]:
        """The parts that own facts."""
        selection = self.target, self.target_vectors, self.weighing, self.bandit, self.rewards
        learns = *selection, self.mixture, self.corpus_order, self.loss_shares
        return self.retraining, self.clusters, *learns, self.packer

    def warm_up(self, waiting: Accepted, num_documents: int) -> bool:
        """Train the student on the documents that wait, if there are enough; whether documents can be composed."""
        if self.clusters.is_seeded or not self.makes_vectors:
            return True
        if len(waiting) < num_documents:
            return False
        self.phases.enter("warm_up")
        doc_nos = waiting.doc_nos_B.tolist()
        tokens = self._tokens(waiting.doc_nos_B)
        if not self.embedder.is_trained:
            self.retraining.begin(doc_nos, tokens)
        self.clusters.seed(self.embedder.embed(held_out(tokens)))
        self.packer.restore_embeddings(self.vectors_from)  # of documents that were packed without
        return True

    def compose(self, documents: Accepted, epoch: Epoch) -> Composed:
        """Take the documents of a tick: assign, sample, balance, pack."""
        enter = self.phases.enter
        self._renew()
        tick = self._assign(documents, epoch)
        enter("sample")
        tick = self._weigh(self._aim(tick, documents, epoch), documents, epoch)
        tick = self._sample(tick, int(documents.doc_nos_B[-1]), epoch)
        enter("balance")
        balanced = self._balance(tick)
        enter("pack")
        return Composed(tick, balanced, self._pack(tick, balanced))

    def _renew(self) -> None:
        """If a new version of the student is due, it takes over, and everything that is held is embedded by it."""
        self.phases.enter("retrain")
        renewed = self.retraining.renew()
        self.target_vectors.follow(self.embedder.version, self.embedder.embed)
        if renewed is None:
            return
        self.clusters.renew(*renewed)
        self.packer.divide(self.clusters.centres()[1])
        self.packer.restore_embeddings(self.vectors_from)

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
            languages=documents.languages,
            num_tokens_B=documents.num_tokens_B,
            qualities_B=documents.qualities_B,
            scores_BM=self.target_vectors.score(documents, embeddings_BD, epoch),
            embeddings_BD=embeddings_BD,
            clusters_B=clusters_B,
            propensities_B=np.ones(len(documents), np.float32),
            weights_B=self.weighing.given(documents.scores_BM),
            policy_version=self.bandit.policy_version,
        )

    def _find_clusters(
        self, doc_nos_B: NDArray[np.int64], epoch: Epoch
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        self.phases.enter("embed")
        doc_nos = doc_nos_B.tolist()
        tokens = self._tokens(doc_nos_B)
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
            self.loss_shares.merged(winner, losers)
        elif event.kind == "split":
            (parent,) = event.parents
            bandit.split(parent, list(event.children))
            mixture.split(parent, list(event.children))
            self.loss_shares.split(parent, list(event.children))
        else:
            for child in event.children:
                bandit.founded(child, list(event.parents))

    def _aim(self, tick: Tick, documents: Accepted, epoch: Epoch) -> Tick:
        """The target keeps the likest. What it turns away, the bandit does not see."""
        if self.target.is_open:
            return tick
        kept_B, chances_B = self.target.keep(documents, self.document_rewards.worths(tick), epoch)
        self._reject(tick.doc_nos_B[~kept_B], LaterReason.OFF_TARGET)
        return replace(tick, propensities_B=chances_B.astype(np.float32)).keep(kept_B)

    def _weigh(self, tick: Tick, documents: Accepted, epoch: Epoch) -> Tick:
        """Weights, and documents beyond a band turned away. What the target turned away is not counted."""
        weighed = self.weighing.weigh(tick, documents.tick_no, self._tokens, epoch)
        tick = replace(tick, weights_B=weighed.weights_B)
        if not weighed.turned_away:
            return tick
        kept_B = np.ones(len(tick), np.bool_)
        for reason, of_reason_B in weighed.turned_away.items():
            self._reject(tick.doc_nos_B[of_reason_B], reason)
            kept_B &= ~of_reason_B
        return tick.keep(kept_B)

    def _sample(self, tick: Tick, last_doc_no: int, epoch: Epoch) -> Tick:
        """The bandit admits documents, and learns what they are worth."""
        strata_B = strata_of(tick.languages, tick.sources) if self.learns_rewards else ()
        admission = self.bandit.sample(tick.clusters_B, tick.keys_B, tick.num_tokens_B, strata_B)
        self._reward(tick, strata_B, last_doc_no, epoch)
        self.probing.ask(tick, admission.probed_B, epoch)
        self.bandit.tick(self.clusters.neighbours(NEIGHBOURS) if self.learns_rewards else ())
        self._reject(tick.doc_nos_B[~admission.admitted_B])
        propensities_B = tick.propensities_B * admission.propensities_B
        return replace(tick, propensities_B=propensities_B).keep(admission.admitted_B)

    def _reward(self, tick: Tick, strata_B: Sequence[str], last_doc_no: int, epoch: Epoch) -> None:
        """Rewards that are known of these documents, and those that trainers and scorers gave since the last tick."""
        if not self.learns_rewards:
            return
        bandit = self.bandit
        for source, given_B in self.document_rewards.of(tick).items():
            is_relative = self.document_rewards.is_relative(source)
            values_B = bandit.strata.standardised(strata_B, given_B, source) if is_relative else given_B
            bandit.learn(tick.clusters_B, values_B, source)
        heard = self.rewards.take(
            self.clusters.survivor,
            lambda doc_no: self.assignments.find(doc_no, epoch),
            last_doc_no=last_doc_no,
        )
        for reward in heard:
            bandit.reward(reward.cluster, reward.value, reward.count, reward.source)

    def _reject(self, doc_nos_B: NDArray[np.int64], reason: LaterReason = LaterReason.NOT_SAMPLED) -> None:
        """Accepted documents that will not be emitted after all."""
        for num_tokens in self.held.reject(doc_nos_B):
            self.ledger.reject_later(reason, num_tokens)

    def _balance(self, tick: Tick) -> Balanced:
        self.mixture.begin_tick()
        if self.loss_shares.is_on and (natural := self.mixture.natural_shares()):
            self.mixture.weigh(self.loss_shares.step(natural))
        columns = tick.doc_nos_B, tick.keys_B, tick.clusters_B, tick.num_tokens_B, tick.sources
        balanced = self.mixture.balance(*columns)
        if not self.orders_corpus:
            return balanced
        self.corpus_order.add(tick.doc_nos_B, tick.keys_B)
        of_before = set(balanced.finished).difference(tick.doc_nos_B.tolist())
        emitted = [use for use in balanced.emitted if use[0] in of_before]
        return Balanced(emitted=emitted, evicted=[], finished=sorted(of_before))

    def end_corpus(self) -> None:
        """The input has ended: documents that waited for that get their places, by the clusters of now."""
        doc_nos_N = self.corpus_order.undecided()
        if not len(doc_nos_N):
            return
        ids_K, centres_KD, _ = self.clusters.centres()
        parts = [doc_nos_N[at : at + TICK_ORDINALS] for at in range(0, len(doc_nos_N), TICK_ORDINALS)]
        slots_N = np.concatenate([products(self.vectors(part_B), centres_KD).argmax(axis=1) for part_B in parts])
        self.corpus_order.decide(doc_nos_N, ids_K[slots_N])

    def give_out(self) -> tuple[NDArray[np.int64], Rows] | None:
        """The next documents of a corpus in order, and the rows that become final by them; None if none waits."""
        doc_nos_B = self.corpus_order.take()
        if not len(doc_nos_B):
            return None
        self.phases.enter("pack")
        first_uses_B = np.zeros(len(doc_nos_B), np.int64)
        return doc_nos_B, self._hand_on(doc_nos_B, first_uses_B, self._numbers(doc_nos_B), self.vectors(doc_nos_B))

    def _pack(self, tick: Tick, balanced: Balanced) -> Rows:
        """Hand the mixture's documents, of this tick or of earlier ones, to the packer."""
        doc_nos_B = np.array([doc_no for doc_no, _ in balanced.emitted], np.int64)
        uses_B = np.array([use for _, use in balanced.emitted], np.int64)
        numbers_B = _numbers_of(tick)
        embeddings_BD = tick.embeddings_BD
        if not np.array_equal(doc_nos_B, tick.doc_nos_B):
            numbers_B, embeddings_BD = self._known(doc_nos_B, tick, numbers_B)
        return self._hand_on(doc_nos_B, uses_B, numbers_B, embeddings_BD)

    def _hand_on(
        self, doc_nos_B: NDArray[np.int64], uses_B: NDArray[np.int64], numbers_B: Numbers, embeddings_BD: Vectors
    ) -> Rows:
        """Documents to the packer, which is one more holder for each of their pieces."""
        num_tokens_B = self.held.num_tokens(doc_nos_B)
        self.held.hold(doc_nos_B, -(-num_tokens_B // self.context_length))
        if self.packer.is_division_due:
            self.packer.divide(self.clusters.centres()[1])
        return self.packer.add(
            doc_nos_B=doc_nos_B,
            num_tokens_B=num_tokens_B,
            embeddings_BD=self._of_tails(doc_nos_B, num_tokens_B, embeddings_BD),
            numbers_B=numbers_B,
            uses_B=uses_B,
        )

    def _known(self, doc_nos_B: NDArray[np.int64], tick: Tick, ticked_B: Numbers) -> tuple[Numbers, Vectors]:
        """Numbers and vectors of documents of this tick, whose numbers are given, or of earlier ones."""
        is_new_B = np.isin(doc_nos_B, tick.doc_nos_B)
        new_B, old_B = np.searchsorted(tick.doc_nos_B, doc_nos_B[is_new_B]), doc_nos_B[~is_new_B]
        numbers_B = np.empty(len(doc_nos_B), DOCUMENT)
        embeddings_BD = np.empty((len(doc_nos_B), tick.embeddings_BD.shape[1]), np.float32)
        numbers_B[is_new_B], embeddings_BD[is_new_B] = ticked_B[new_B], tick.embeddings_BD[new_B]
        numbers_B[~is_new_B], embeddings_BD[~is_new_B] = self._numbers(old_B), self.vectors(old_B)
        return numbers_B, embeddings_BD

    def _numbers(self, doc_nos_B: NDArray[np.int64]) -> Numbers:
        """Numbers of held documents whose tick is over."""
        records = []
        for doc_no in doc_nos_B.tolist():
            sampled = self.held.sampled(doc_no)
            assert sampled is not None
            records.append(sampled.numbers)
        return numbers_from(records)

    def _of_tails(
        self, doc_nos_B: NDArray[np.int64], num_tokens_B: NDArray[np.int64], embeddings_BD: Vectors
    ) -> Vectors:
        """The vectors with those of tails in place of their documents', as the pool wants them.

        A teacher has none of tails, and those of this tick's documents are not kept before it is over.
        """
        long_B = num_tokens_B > self.context_length
        if not (self._embeds_again and long_B.any()):
            return embeddings_BD
        starts_B = (num_tokens_B - 1) // self.context_length * self.context_length
        replaced_BD = embeddings_BD.copy()
        replaced_BD[long_B] = self.vectors_from(doc_nos_B[long_B], starts_B[long_B])
        return replaced_BD

    def vectors_from(self, doc_nos_B: NDArray[np.int64], starts_B: NDArray[np.int64]) -> Vectors:
        """Vectors of held documents, read from token `starts_B` on; a teacher's are those of whole documents."""
        if not self._embeds_again:
            return self.vectors(doc_nos_B)
        return self.embedder.embed(self.held.parts(doc_nos_B, starts_B, self.held.num_tokens(doc_nos_B) - starts_B))

    @property
    def _embeds_again(self) -> bool:
        """Whether vectors are computed from tokens whenever they are wanted."""
        return self.makes_vectors and self.clusters.is_seeded and not self.embedder.stores_vectors

    def vectors(self, doc_nos_B: NDArray[np.int64]) -> Vectors:
        """Vectors of held documents whose tick is over: a teacher's as they were then, a student's as it sees them.

        They have no dimension before the first clusters, and where nothing reads them.
        """
        if not (self.makes_vectors and self.clusters.is_seeded):
            return np.zeros((len(doc_nos_B), 0), np.float32)
        if not self.embedder.stores_vectors:
            return self.embedder.embed(self._tokens(doc_nos_B))
        vectors_BD = np.zeros((len(doc_nos_B), self.clusters.dimension), np.float32)
        vectors_BD[:, 0] = 1.0  # a document that got none in its tick has no direction
        for b, doc_no in enumerate(doc_nos_B.tolist()):
            sampled = self.held.sampled(doc_no)
            if sampled is not None and sampled.vector:
                vectors_BD[b] = np.frombuffer(sampled.vector, np.float32)
        return vectors_BD

    def _tokens(self, doc_nos_B: NDArray[np.int64]) -> list[Tokens]:
        return self.held.tokens(doc_nos_B)

    def release(self, composed: Composed) -> None:
        """After emission: let go of the documents that the mixture is done with, and write down those that it keeps."""
        tick, balanced = composed.tick, composed.balanced
        self._reject(np.array(balanced.evicted, np.int64))
        self.held.let_go(np.array(balanced.finished, np.int64))
        stores_vectors = self.makes_vectors and self.embedder.stores_vectors
        if not self.keeps_documents and not stores_vectors:
            return
        numbers_B = _numbers_of(tick)
        for place in np.flatnonzero(self.held.has(tick.doc_nos_B)).tolist():
            vector = tick.embeddings_BD[place].tobytes() if stores_vectors else b""
            self.held.sample(int(tick.doc_nos_B[place]), Sampled(numbers_B[place].tobytes(), vector))

    def restore_holders(self, waiting: Accepted) -> None:
        """After all stages are restored: who holds which document, and the vectors of those in the pool."""
        uses = self.mixture.held() + [(doc_no, 0) for doc_no in self.corpus_order.waiting()]
        buffered_B, uses_B = np.array(uses, np.int64).reshape(-1, 2).T
        pieces_N = self.packer.held_pieces()
        self.held.restore_holders(
            np.concatenate((waiting.doc_nos_B, buffered_B, pieces_N["doc_no"])),
            np.concatenate(
                (
                    waiting.num_tokens_B,
                    np.where(uses_B > 0, 0, self.held.num_tokens(buffered_B)),
                    np.where(pieces_N["use"] > 0, 0, lengths(pieces_N)),
                )
            ),
        )
        self.packer.restore_embeddings(self.vectors_from)


def _numbers_of(tick: Tick) -> Numbers:
    return make_numbers(tick.clusters_B, tick.policy_version, tick.propensities_B, tick.weights_B, tick.qualities_B)
