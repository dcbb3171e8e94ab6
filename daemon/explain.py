"""`curatord explain`: the way of one document, from the facts alone. Imports nothing heavy."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from curatord.errors import UsageError
from packing.emission import Placements
from state.store import Store, state_folder
from state.verdicts import Verdict, find_document, find_verdicts


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


def find_placements(store: Store, doc_no: int) -> list[Placement]:
    """Every sequence that has a piece of the document."""
    found = []
    for _, value in store.items("placements"):
        fact = msgspec.msgpack.decode(value, type=Placements)
        doc_nos = np.frombuffer(fact.doc_nos, np.int64)
        segments = np.flatnonzero(doc_nos == doc_no)
        if not len(segments):
            continue
        firsts = np.concatenate(([0], np.cumsum(np.frombuffer(fact.num_segments, np.uint32))))
        lengths = np.frombuffer(fact.lengths, np.uint32)
        for segment in segments.tolist():
            row = int(np.searchsorted(firsts, segment, side="right")) - 1
            found.append(
                Placement(
                    generation=fact.generation,
                    seq_no=fact.first_seq_no + row,
                    position=int(lengths[int(firsts[row]) : segment].sum()),
                    start=int(np.frombuffer(fact.starts, np.uint32)[segment]),
                    length=int(lengths[segment]),
                    cluster=int(np.frombuffer(fact.clusters, np.int32)[segment]),
                    policy_version=int(np.frombuffer(fact.policy_versions, np.int32)[segment]),
                    propensity=float(np.frombuffer(fact.propensities, np.float32)[segment]),
                )
            )
    return found


def explain(doc_id: str, output: Path, *, as_json: bool) -> None:
    """Print the way of a document. Raises `UsageError` if the id was never read."""
    store = Store(state_folder(output), read_only=True)
    try:
        verdicts = find_verdicts(store, doc_id)
        if not verdicts:
            raise UsageError(f"no document with the id {doc_id!r} was ever read into {output}{_similar(store, doc_id)}")
        stories = [_story(store, verdict) for verdict in verdicts]
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps([_plain(story) for story in stories], indent=2))
        return
    for story in stories:
        click.echo("\n".join(_lines(story)))


def _similar(store: Store, doc_id: str) -> str:
    """Ids that end or begin alike."""
    from state.verdicts import read_segments

    tail = doc_id.rsplit("/", 1)[-1]
    near = [other for segment in read_segments(store) for other in segment.ids if tail and tail in other][:3]
    return f"; there are {', '.join(map(repr, near))}" if near else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything that is known of one version of a document."""

    verdict: Verdict
    match_id: str  # id of the earlier document it resembles; "" without
    retracted: str  # "", "retracted" or "replaced"
    placements: tuple[Placement, ...]


def _story(store: Store, verdict: Verdict) -> Story:
    match = find_document(store, verdict.match) if verdict.match >= 0 else None
    return Story(
        verdict=verdict,
        match_id=match.doc_id if match else "",
        retracted=(store.get("retracted", verdict.doc_no.to_bytes(8, "big")) or b"").decode(),
        placements=tuple(find_placements(store, verdict.doc_no)),
    )


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    return json.loads(json.dumps(asdict(value)).replace("NaN", "null"))


def _lines(story: Story) -> list[str]:
    """The stages in order, up to the one that ended the way."""
    verdict = story.verdict
    lines = [
        f"{verdict.doc_id}",
        f"  read       row {verdict.position} of {verdict.input}, the {verdict.ordinal + 1:,}th row read, "
        f"{verdict.num_bytes:,} bytes" + (f", source {verdict.source}" if verdict.source else ""),
    ]
    if verdict.stage in ("documents", "exact_dedup"):
        like = f": {story.match_id}" if story.match_id else ""
        return [*lines, f"  {verdict.stage:<10} REJECTED, {verdict.reason}{like}", *_after(story)]
    lines.append("  exact_dedup passed: neither its text nor its URL was seen before")
    failing = failed_rules(verdict.rules)
    observed = ", ".join(f"{name} {value:.4g} against {threshold:.4g}" for name, value, threshold in failing)
    judged = (
        f"REJECTED, {verdict.reason}: {verdict.value:.4g} against a threshold of {verdict.threshold:.4g}"
        if verdict.stage == "quality"
        else f"passed, score {verdict.quality:.2f}"
    )
    lines.append(f"  quality    {judged}; language {verdict.language or 'unknown'}")
    if observed:
        lines.append(f"             fails {len(failing)} of {len(verdict.rules)} rules: {observed}")
    if verdict.stage == "quality":
        return [*lines, *_after(story)]
    if verdict.stage == "near_dedup":
        how = f"similarity {verdict.value:.3f} against {verdict.threshold:.3f}"
        return [*lines, f"  near_dedup REJECTED, {how}: {story.match_id}", *_after(story)]
    lines.append("  near_dedup passed: no earlier document is similar enough")
    if verdict.stage == "holdout":
        return [*lines, "  holdout    HELD OUT of training, by hash of its id: see holdout/", *_after(story)]
    lines.append(f"  tokenize   {verdict.num_tokens:,} tokens")
    return [*lines, *_after(story)]


def _after(story: Story) -> list[str]:
    """What came after the verdict."""
    lines = []
    for placement in story.placements:
        end = placement.start + placement.length
        lines.append(
            f"  emitted    sequence {placement.seq_no} of generation {placement.generation}, tokens "
            f"{placement.position} to {placement.position + placement.length}: tokens {placement.start} to {end} of "
            f"the document; cluster {placement.cluster}, admitted with probability {placement.propensity:.2f} "
            f"by policy {placement.policy_version}"
        )
    if story.retracted:
        lines.append(f"  taken back {'by a newer version' if story.retracted == 'replaced' else 'by a retraction'}")
    elif not story.verdict.stage and not story.placements:
        lines.append("  held       in a tick, a balance buffer, the pool or a row that is not complete")
    return lines


def failed_rules(rules: dict[str, float]) -> list[tuple[str, float, float]]:
    """Quality rules that the values fail at their published thresholds: (name, value, threshold)."""
    from curation.rules import RULES

    failing = []
    for rule in RULES:
        value = rules.get(rule.name)
        if value is not None and (value > rule.threshold if rule.fails == "above" else value < rule.threshold):
            failing.append((rule.name, value, rule.threshold))
    return failing


def describe_retraction(doc_id: str, output: Path) -> str:
    """What a retraction did."""
    store = Store(state_folder(output), read_only=True)
    try:
        verdicts = find_verdicts(store, doc_id)
        if not verdicts:
            return f"{doc_id}: never read. If an older version of it arrives later, it will be withheld."
        placements = find_placements(store, verdicts[-1].doc_no)
    finally:
        store.close()
    if not placements:
        return f"{doc_id}: taken back; none of it had been emitted."
    sequences = ", ".join(str(placement.seq_no) for placement in placements)
    return f"{doc_id}: taken back, but it had been emitted already, in sequence(s) {sequences}."
