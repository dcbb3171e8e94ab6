"""`curatord explain`: the way of one document, from the facts alone. Imports nothing heavy."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from curation.decontamination.found import FOUND, NUMBER_OF_QUESTION, SHARE, FoundQuestion
from curation.dedup.manifest import manifest_of, sealed_under
from curation.quality.rules import RULES, explain_reason
from curation.selection.weighing_facts import WeighedDocument
from curatord.errors import StateError, UsageError
from curatord.printable import printable
from daemon.commands.explain_selection import (
    Aimed,
    Balanced,
    Rewarded,
    aimed,
    balanced,
    lines,
    rewarded,
    scores_of,
    weighed,
    weight_lines,
)
from daemon.commands.read_state import (
    Damage,
    HeldPiece,
    buffered_documents,
    held_pieces,
    is_masked,
    opened_for_reading,
)
from daemon.commands.screen import show
from daemon.stages.decided_with import options_at
from packing.placements import placements_of
from packing.sampled import SAMPLED
from state.common_facts import DEAD_LETTERS, RETRACTED, TICKED
from state.document_numbers import joined_numbers, named, numbers_from
from state.edits import decode_edits
from state.outcomes import LATER_REASONS, LaterReason, Stage
from state.segments import Verdict, find_document, read_segments, segment_at, verdict_of
from state.store import Store

NUM_SIMILAR = 3
HINTED_DOCUMENTS = 100_000  # the newest, among which ids are looked for that look like an unknown one
MAX_DOC_NO = (1 << 63) - 1
COLUMN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """One piece of a document in a sequence."""

    generation: int
    seq_no: int
    position: int  # of the piece's first token in the sequence
    start: int  # of the piece in the document
    length: int
    cluster: int
    policy_version: int
    propensity: float
    weight: float
    quality: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything that is known of one version of a document."""

    verdict: Verdict
    match_id: str  # id of the earlier document it resembles; "" without
    question: FoundQuestion | None  # of an evaluation set, that it holds
    failed_rules: tuple[tuple[str, float, float], ...]  # name, value, published threshold
    retracted: str  # a `LaterReason`; "" if it was not taken back
    placements: tuple[Placement, ...]
    held: tuple[HeldPiece, ...]  # pieces in the packer
    waits_for: str  # "", "tick" or "buffer": why an accepted document did not come to the packer yet
    cluster: int | None  # None before the document's tick
    scores: dict[str, float]  # by models
    target: Aimed | None  # None where no target decided
    is_sampled: bool  # whether the bandit was on when it was read
    weighed: WeighedDocument | None  # None where nothing weighs
    rewards: Rewarded | None  # None with the bandit off
    balance: Balanced | None  # None where every document goes straight on

    @property
    def was_not_sampled(self) -> bool:
        """Accepted, and then turned away by the bandit or the mixture."""
        return not (self.verdict.stage or self.retracted or self.placements or self.held or self.waits_for)


def explain(doc_id: str, output: Path, *, as_json: bool) -> None:
    """Print the way of a document. Raises `UsageError` if the id was never read, `StateError` if damage hides it."""
    damage = Damage()
    with opened_for_reading(output) as store:
        verdicts = list(find_versions(store, doc_id, damage))
        if not verdicts:
            raise _unknown(store, doc_id, output, damage)
        stories = [_story(store, verdict, damage) for verdict in verdicts]
    if as_json:
        click.echo(json.dumps([_plain(asdict(story)) for story in stories], indent=2))
    else:
        for story in stories:
            show(*_lines(story))
    for problem in damage.problems:
        show(f"curatord: the state is damaged, so something may be missing above: {problem}", err=True)


def find_versions(store: Store, doc_id: str, damage: Damage) -> Iterator[Verdict]:
    """Every document that was read under this id, oldest first; more than one after a new version."""
    unsealed = manifest_of(store).documents
    try:
        found = [find_document(store, doc_no) for doc_no in sealed_under(store, doc_id)]
    except StateError:  # files that are not there, as after a restore, or damaged
        found, unsealed = [], 0
    yield from (verdict for verdict in found if verdict is not None and verdict.doc_id == doc_id)
    for segment in damage.as_far_as_readable(read_segments(store, unsealed)):
        if doc_id in segment.ids:
            yield from (verdict_of(segment, row) for row, other in enumerate(segment.ids) if other == doc_id)


def _unknown(store: Store, doc_id: str, output: Path, damage: Damage) -> UsageError | StateError:
    """The error for an id that is not there: why it may not be, and ids that look like it."""
    if damage.problems:
        return StateError(
            f"no document with the id {doc_id!r} is in what can still be read of {output}: the state is damaged. "
            f"{damage.problems[0]}"
        )
    for _, letter in DEAD_LETTERS.items(store):
        if doc_id == f"{letter.source}:{letter.position}" or f'"{doc_id}"'.encode() in letter.original:
            return UsageError(
                f"{doc_id!r} is no document: row {letter.position} of {letter.source} could not be read "
                f"({letter.reason}: {letter.message})"
            )
    tail = doc_id.rsplit("/", 1)[-1]
    newest = segment_at(store, MAX_DOC_NO)
    first = max(0, newest.first - HINTED_DOCUMENTS) if newest is not None else 0
    similar = {other for segment in read_segments(store, first) for other in segment.ids if tail and tail in other}
    nearest = sorted(similar, key=lambda other: (len(other), other))[:NUM_SIMILAR]
    hint = f"; there is {', '.join(map(repr, nearest))}" if nearest else ""
    if is_masked(store):
        hint += "; ids with personal data are kept as pseudonyms here, which verdicts and `retract` name"
    return UsageError(f"no document with the id {doc_id!r} was ever read into {output}{hint}")


def find_placements(store: Store, doc_no: int, damage: Damage) -> list[Placement]:
    """Every sequence that has a piece of the document."""
    found = []
    for fact in damage.as_far_as_readable(placements_of(store, doc_no)):
        doc_nos = np.frombuffer(fact.doc_nos, np.int64)
        segments = np.flatnonzero(doc_nos == doc_no)
        if not len(segments):
            continue
        firsts = np.concatenate(([0], np.cumsum(np.frombuffer(fact.num_segments, np.uint32))))
        lengths, numbers_S = np.frombuffer(fact.lengths, np.uint32), joined_numbers(fact.numbers, len(doc_nos))
        for segment in segments.tolist():
            row = int(np.searchsorted(firsts, segment, side="right")) - 1
            found.append(
                Placement(
                    generation=fact.generation,
                    seq_no=fact.first_seq_no + row,
                    position=int(lengths[int(firsts[row]) : segment].sum()),
                    start=int(np.frombuffer(fact.starts, np.uint32)[segment]),
                    length=int(lengths[segment]),
                    **named(numbers_S[segment]),
                )
            )
    return found


def _story(store: Store, verdict: Verdict, damage: Damage) -> Story:
    doc_no = verdict.doc_no
    retracted = RETRACTED.get(store, doc_no) or ""
    placements = find_placements(store, doc_no, damage)
    held = [piece for piece in held_pieces(store, damage) if piece.doc_no == doc_no]
    waits_for = ""
    cluster = next((piece.cluster for piece in placements), next((piece.cluster for piece in held), None))
    if not verdict.stage and not retracted:
        if verdict.ordinal >= (TICKED.get(store, None) or 0):
            waits_for = "tick"
        elif doc_no in buffered_documents(store, damage):
            waits_for = "buffer"
            sampled = SAMPLED.get(store, doc_no)
            cluster = cluster if sampled is None else named(numbers_from([sampled.numbers])[0])["cluster"]
    options, scores = options_at(store, verdict.ordinal), scores_of(store, verdict)
    return Story(
        verdict=verdict,
        match_id=_id_of(store, verdict.match, damage),
        question=question_of(store, verdict),
        failed_rules=tuple(failed_rules(verdict.rules)),
        retracted=retracted,
        placements=tuple(sorted(placements, key=lambda piece: (piece.generation, piece.start, piece.seq_no))),
        held=tuple(held),
        waits_for=waits_for,
        cluster=cluster,
        scores=scores,
        target=None if verdict.stage else aimed(store, verdict, scores),
        is_sampled=options.get("bandit.enabled") == "true",
        weighed=None if verdict.stage else weighed(store, verdict),
        rewards=rewarded(store, cluster),
        balance=balanced(store, options, verdict.source, cluster),
    )


def question_of(store: Store, verdict: Verdict) -> FoundQuestion | None:
    """The question of an evaluation set that a document holds."""
    number = verdict.rules.get(NUMBER_OF_QUESTION, math.nan)
    return FOUND.get(store, int(number)) if math.isfinite(number) else None


def _id_of(store: Store, doc_no: int, damage: Damage) -> str:
    """The id of a document by its number; "" for none."""
    if doc_no < 0:
        return ""
    for verdict in damage.as_far_as_readable(find_document(store, number) for number in (doc_no,)):
        if verdict is not None:
            return verdict.doc_id
    return f"document number {doc_no}, which cannot be read"


def _plain(value: Any) -> Any:
    """The same for JSON, which has no NaN."""
    if isinstance(value, msgspec.Struct):
        return _plain(msgspec.structs.asdict(value))
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(story: Story) -> list[str]:
    """The stages in order, up to the one that ended the way, and what came after."""
    verdict = story.verdict
    lines = [verdict.doc_id]

    def tell(stage: str, what: str) -> None:
        lines.append(f"  {stage:<{COLUMN - 1}} {what}")

    source = f", source {verdict.source}" if verdict.source else ""
    tell("read", f"row {verdict.position} of {verdict.input}, {verdict.num_bytes:,} bytes{source}")
    if verdict.edits:
        tell("mask", masked(verdict.edits))
    for stage, what in (*_decisions(story), *_whereabouts(story)):
        tell(stage, what)
    return lines


def masked(edits: str) -> str:
    """Edits, without a word of the text: `text: 2 email, 1 phone; url: 1 email`."""
    by_place: dict[str, list[str]] = {}
    for (place, kind), count in decode_edits(edits).items():
        by_place.setdefault(place, []).append(f"{count:,} {kind.replace('_', ' ')}")
    return "; ".join(f"{place}: {', '.join(counts)}" for place, counts in by_place.items())


def _decisions(story: Story) -> Iterator[tuple[str, str]]:
    """The decisions up to the one that rejected the document: (stage, sentence)."""
    for stage in Stage:
        is_rejected = story.verdict.stage == stage
        sentence = _rejection(story, stage) if is_rejected else _passed(story.verdict, stage)
        if sentence:
            yield stage, sentence
        if stage is Stage.QUALITY and story.failed_rules:
            failed, rules = len(story.failed_rules), sum(rule.name in story.verdict.rules for rule in RULES)
            yield "", f"fails {failed} of {rules} rules at their published thresholds:"
            for rule, value, limit in story.failed_rules:
                yield "", f"  {rule:<38}{value:>8.4g} against {limit:.4g}"
        if stage is Stage.DECONTAMINATE and story.question is not None:
            question, share = story.question, story.verdict.rules[SHARE]
            yield "", f"{share:.2f} of question {question.id} of {question.set}: {printable(question.text)}"
        if is_rejected:
            yield from lines(story.scores)
            return
    if story.cluster is not None:
        yield "assign", f"cluster {story.cluster}"
    yield from lines(story.scores, story.target, story.rewards, story.balance)
    yield from weight_lines(story.verdict, story.weighed)


def _rejection(story: Story, stage: Stage) -> str:
    """The reason, and the document that it is like, or the measured value, or what the reason means."""
    verdict = story.verdict
    against = f"{verdict.value:.4g} against a threshold of {verdict.threshold:.4g}"
    measured = against if math.isfinite(verdict.value) else ""
    if stage is Stage.QUALITY:
        return f"REJECTED, {verdict.reason}{': ' if measured else ''}{measured}; {_language(verdict)}"
    if stage is Stage.NEAR_DEDUP:
        similarity = f"similarity {verdict.value:.3f} against a threshold of {verdict.threshold:.3f}"
        return f"REJECTED, {similarity}: {story.match_id}"
    return f"REJECTED, {verdict.reason}: {story.match_id or measured or explain_reason(verdict.reason)}"


def _passed(verdict: Verdict, stage: Stage) -> str:
    """The result of a stage that let the document through; "" where there is nothing to say."""
    if stage is Stage.QUALITY:
        return f"passed, score {verdict.quality:.2f}; {_language(verdict)}"
    if stage is Stage.TOKENIZE:
        return f"{verdict.num_tokens:,} tokens"
    return stage.passed


def _language(verdict: Verdict) -> str:
    return f"language {verdict.language or 'unknown'}"


def _whereabouts(story: Story) -> Iterator[tuple[str, str]]:
    """Where an accepted document is, and whether it was taken back."""
    pieces: tuple[Placement | HeldPiece, ...] = (*story.placements, *story.held)
    for piece in pieces[:1] if story.is_sampled or story.target is not None else ():
        by = f"policy {piece.policy_version}" if story.is_sampled else "the target alone"
        yield "sample", f"admitted with probability {piece.propensity:.2f} by {by}"
    for placement in story.placements:
        end = placement.position + placement.length
        yield (
            "emitted",
            f"sequence {placement.seq_no} of generation {placement.generation}, tokens {placement.position} to {end}: "
            f"tokens {placement.start} to {placement.start + placement.length} of the document",
        )
    places = {
        "pool": "in the pool of documents to be packed",
        "open row": "in a row that is not full",
        "closed row": "in a full row, until the rows to shuffle it with are full, too",
    }
    for held in story.held:
        yield "held", f"tokens {held.start} to {held.end}, {places[held.place]}"
    if story.waits_for == "tick":
        yield "held", "until the rows read together with it are complete, or the warm-up is over"
    elif story.waits_for == "buffer":
        yield "held", "in the balance buffer of its cluster, until the mixture wants it"
    if story.retracted:
        yield "taken back", LATER_REASONS[story.retracted].explanation
    elif story.was_not_sampled:
        reason = LaterReason.NOT_SAMPLED
        if story.target is not None and not story.target.is_kept:
            reason = LaterReason.OFF_TARGET
        elif story.weighed is not None and story.weighed.turned_away is not None:
            reason = story.weighed.turned_away
        yield "sample", f"REJECTED, {reason}: {reason.explanation}"


def failed_rules(rules: dict[str, float]) -> list[tuple[str, float, float]]:
    """Quality rules that the values fail at their published thresholds: (name, value, threshold)."""
    failing: list[tuple[str, float, float]] = []
    for rule in RULES:
        value = rules.get(rule.name)
        if value is not None and (value > rule.threshold if rule.fails == "above" else value < rule.threshold):
            failing.append((rule.name, value, rule.threshold))
    return failing
