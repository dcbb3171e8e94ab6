"""The application: builds every part from the configuration, in one place; every command comes through here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping

from curation.acquisition.url_lists import open_urls
from curation.decontamination.found import FoundQuestions
from curation.dedup.exact import ExactDedup
from curation.dedup.key_index import IdIndex
from curation.dedup.near import IDENTITY_OPTIONS, NearDedup
from curation.dedup.passages import Passages
from curation.dedup.retracted import Retracted
from curation.dedup.sealing import Indices
from curation.quality.judge import Quality
from curation.selection.bandit import Bandit
from curation.selection.corpus_order import CorpusOrder
from curation.selection.document_rewards import DocumentRewards
from curation.selection.loss_shares import LossShares
from curation.selection.mixture import Mixture
from curation.selection.reward_sources import PROGRESS, default_source_floor, is_damped
from curation.selection.rewards import Rewards
from curation.selection.scored import Scored
from curation.selection.target_gate import TargetGate
from curation.selection.target_vectors import TargetVectors
from curation.selection.weighing import Weighing
from curation.topics.clusters import Clusters
from curation.vectors.embedder import Embedder
from curation.vectors.retraining import Retraining
from curatord.errors import IdentityError
from daemon.config import Config
from daemon.models import Models, open_models, open_reference
from daemon.pipeline import Pipeline
from daemon.stages.compose import Compose
from daemon.stages.decide import Decide
from daemon.stages.examples import Examples
from daemon.stages.feedback import FeedbackJoin
from daemon.stages.hold_out import HoldOut
from daemon.stages.identify import Identify
from daemon.stages.mask import MaskArrivals, open_mask
from daemon.stages.prepare import open_prepare
from daemon.stages.probes import Probing
from daemon.stages.record import Record
from daemon.stages.ticks import Ticks
from daemon.stages.verdict_rows import VerdictRows
from kernels import words
from ops.blas import use_one_thread
from ops.phases import PhaseClock
from packing.emission import Emission
from packing.held import HeldDocuments
from packing.packer import Packer
from packing.placements import PlacementIndex
from packing.tokenizer import Tokenizer, open_tokenizer
from state.assignments import Assignments
from state.epoch import Committed
from state.facts import Family, declared_families
from state.ledger import Ledger
from state.safe_points import SafePoints
from state.segments import Segments
from state.store import FORMAT_VERSION, Store


def build(
    config: Config,
    store: Store,
    tokenizer: Tokenizer,
    *,
    progress: Callable[[int, int], None] | None = None,
    phases: PhaseClock | None = None,
    verdicts_share: float = 0.0,
) -> Pipeline:
    """The pipeline over a store, nothing but a trained student restored.

    `progress` hears of the teacher's work (done, total). `verdicts_share` of the documents get a row in the epoch.

    Raises `ConfigError` where the configuration names something that is not there.
    """
    use_one_thread()
    models, indices = open_models(config), _indices(config, store)
    quality = Quality(config.quality, config.language, models.all, models.given)
    phases, ledger, held, segments = phases or PhaseClock(), Ledger(), HeldDocuments(), Segments(store)
    ticks, seed, mask = Ticks(quality.model_names), config.output.seed, open_mask(config.mask)
    embedding = _embedding(config, store, tokenizer, progress)
    probe_tokens = config.probes.max_tokens if config.topics.probes else 0
    probing = Probing(held=held, decode=tokenizer.decode, max_tokens=probe_tokens)
    aims = models, TargetVectors(open_reference(config, tokenizer))
    compose = _compose(config, store, embedding, probing, ledger, phases, aims)
    identify, verdict_rows = Identify(ledger, segments, indices.ids), VerdictRows(share=verdicts_share, seed=seed)
    return Pipeline(
        config=config,
        phases=phases,
        ledger=ledger,
        segments=segments,
        indices=indices,
        held=held,
        identify=identify,
        decide=Decide(
            prepare=open_prepare(config, quality, indices.near, tokenizer, mask),
            urls=open_urls(config.urls),
            found_questions=FoundQuestions(enabled=bool(config.decontaminate.files)),
            drops_contaminated=config.decontaminate.drop,
            exact_dedup=indices.exact,
            near_dedup=indices.near,
            passages=Passages(config.dedup.passages, store),
            hold_out=HoldOut(config.output.holdout, seed),
            held=held,
            ledger=ledger,
            record=Record(ledger=ledger, segments=segments, verdict_rows=verdict_rows, examples=Examples()),
            phases=phases,
        ),
        ticks=ticks,
        compose=compose,
        emission=_emission(config, held, ledger),
        feedback=_feedback(config, store, compose, ticks, identify, segments, mask),
    )


def _feedback(
    config: Config,
    store: Store,
    compose: Compose,
    ticks: Ticks,
    identify: Identify,
    segments: Segments,
    mask: MaskArrivals | None,
) -> FeedbackJoin:
    """All that takes in messages of trainers and scorers."""
    return FeedbackJoin(
        rewards=compose.rewards,
        scored=Scored(),
        safe_points=SafePoints(),
        placements=PlacementIndex(store),
        assignments=compose.assignments,
        clusters=compose.clusters,
        waiting=ticks.waiting,
        doc_no_of=identify.doc_no_of,
        faded=lambda doc_no: compose.bandit.faded(identify.next_doc_no - doc_no, of=identify.next_doc_no),
        learns_losses=config.bandit.enabled and PROGRESS in config.bandit.reward,
        loss_shares=compose.loss_shares,
        mixture=compose.mixture,
        segments=segments,
        max_dead_letter_bytes=config.dead_letters.max_bytes,
        mask=mask,
    )


def _emission(config: Config, held: HeldDocuments, ledger: Ledger) -> Emission:
    """Rows to sequences."""
    return Emission(
        held,
        ledger,
        context_length=config.packing.context_length,
        shard_rows=config.packing.shuffle_block_rows,
        has_weights=bool(config.input.fields.weight or config.weights.by),
    )


def _indices(config: Config, store: Store) -> Indices:
    """All that finds documents of before."""
    retracted, forget_after = Retracted(), config.state.forget_after
    return Indices(
        store=store,
        ids=IdIndex(retracted),
        exact=ExactDedup(config.dedup.exact, retracted, forget_after=forget_after),
        near=NearDedup(config.dedup.near, forget_after=forget_after),
        retracted=retracted,
        memory=config.state.memory,
    )


def _embedding(
    config: Config, store: Store, tokenizer: Tokenizer, progress: Callable[[int, int], None] | None
) -> tuple[Embedder, Retraining]:
    """Documents to vectors, with the student of the state, if there is one."""
    embedder = Embedder(
        config.embedding,
        decode=tokenizer.decode,
        vocabulary_size=tokenizer.vocabulary_size,
        seed=config.output.seed,
        threads=len(os.sched_getaffinity(0)),
        lessons=store.folder / "lessons.sqlite",
        progress=progress,
    )
    embedder.restore(store)
    if config.makes_vectors:
        embedder.check()
    return embedder, Retraining(config.embedding, embedder, progress=progress)


def _compose(
    config: Config,
    store: Store,
    embedding: tuple[Embedder, Retraining],
    probing: Probing,
    ledger: Ledger,
    phases: PhaseClock,
    aims: tuple[Models, TargetVectors],
) -> Compose:
    """The stages that learn."""
    (embedder, retraining), (models, target_vectors) = embedding, aims
    names = (*models.score_names, *target_vectors.names)
    seed, heads = config.output.seed, config.head_names
    reward = config.bandit.reward if config.bandit.enabled else ()
    return Compose(
        embedder=embedder,
        retraining=retraining,
        clusters=Clusters(config.clusters, seed=seed),
        bandit=Bandit(config.bandit, seed=seed, source_floor=default_source_floor(reward, heads)),
        rewards=Rewards(config.feedback, sources=reward, is_damped=is_damped(reward, heads)),
        target=TargetGate(config.target, models.target_scale, seed=seed),
        target_vectors=target_vectors,
        weighing=Weighing(config.weights, names=names, target_scale=models.target_scale),
        document_rewards=DocumentRewards(sources=reward, models=names),
        assignments=Assignments(store),
        mixture=Mixture(config.mixture, seed=seed),
        corpus_order=CorpusOrder(config.mixture.schedule, seed=seed),
        loss_shares=LossShares(config.mixture.rule, config.mixture.losses),
        packer=Packer(config.packing, seed=seed),
        probing=probing,
        held=probing.held,
        ledger=ledger,
        phases=phases,
        learns_rewards=config.bandit.enabled,
        keeps_documents=not config.mixture.passes_through(),
        orders_corpus=config.mixture.orders_corpus(),
        makes_vectors=config.makes_vectors,
        context_length=config.packing.context_length,
    )


def build_restored(
    config: Config,
    store: Store,
    *,
    progress: Callable[[int, int], None] | None = None,
    phases: PhaseClock | None = None,
    verdicts_share: float = 0.0,
) -> Pipeline:
    """The pipeline over a store that only this process changes.

    Raises `ConfigError` where the configuration names something that is not there, `IdentityError` where it
    contradicts the state.
    """
    tokenizer = open_tokenizer(config.tokenizer)
    committed = store.committed()
    if committed is not None:
        check_identity(config, tokenizer, committed, f"the state in {store.folder}")
    pipeline = build(config, store, tokenizer, progress=progress, phases=phases, verdicts_share=verdicts_share)
    pipeline.restore(store)
    return pipeline


def identity(config: Config, tokenizer: Tokenizer) -> dict[str, str]:
    """The meaning of the state: the format of its facts, and the options that must not change."""
    near = config.dedup.near
    return {
        "state format": FORMAT_VERSION.decode(),
        "input.id_scope": config.input.id_scope,
        **{f"dedup.near.{name}": str(getattr(near, name)) for name in IDENTITY_OPTIONS},
        "words": words.DEFINITION,
        "tokenizer": f"{tokenizer.name} ({tokenizer.digest:016x})",
        "embedding.mode": config.embedding.mode,
        "embedding.model": config.embedding.model,
        "embedding.student_tokens": str(config.embedding.student_tokens),
        **({"state.forget_after": str(config.state.forget_after)} if config.state.forget_after else {}),
    }


def families() -> Mapping[str, Family]:
    """Every family of facts that a part of the pipeline or a broker declares, by name."""
    return declared_families()


def encode_identity(config: Config, tokenizer: Tokenizer) -> str:
    """The identity as one string."""
    return json.dumps(identity(config, tokenizer), sort_keys=True)


def check_identity(config: Config, tokenizer: Tokenizer, committed: Committed, place: str) -> None:
    """Raise `IdentityError` naming everything that is not as it was when what is in `place` was made."""
    made_with = json.loads(committed.identity)
    wanted = identity(config, tokenizer)
    differences = [
        f"  - {name}: it was made with {made_with.get(name)}, now it is {wanted.get(name)}"
        for name in {**wanted, **made_with}
        if made_with.get(name) != wanted.get(name)
    ]
    if differences:
        listed = "\n".join(differences)
        raise IdentityError(
            f"{place} belongs to another configuration:\n{listed}\n"
            "Set these options back to go on (of another format: use the curatord that made it), or start with an "
            "empty state: another --output (`curatord curate --again` reads the same inputs), or another lane and "
            "journal."
        )
