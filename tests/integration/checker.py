"""The topics of a lane of `member.py` as others read them, and the faults in them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

from kafka import KafkaAdminClient, TopicPartition

from consumers.kafka.clients import group_offsets
from state.journal import Artifact, decode_changes
from state.store import Store
from tests.integration.member import topics_of
from tests.integration.world import end_offsets, read_sequences, read_topic

OWN_FACTS = {("meta", b"journal"), ("meta", b"format")}  # of a store alone, or made before the first epoch
Fact = tuple[str, bytes]


@dataclass(slots=True)
class Evidence:
    """Everything that can be seen; plain values, so that a test can spoil them."""

    epochs: list[int] = field(default_factory=list)  # of the journal, in its order
    puts: Counter[Fact] = field(default_factory=Counter)  # how often a fact was set
    facts: dict[Fact, bytes] = field(default_factory=dict)  # what the journal adds up to
    sequences: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)  # seq_no, ids
    dead: list[str] = field(default_factory=list)  # source@position
    committed: dict[str, int] = field(default_factory=dict)  # of the group, by source
    marker: tuple[int, int] = (-1, -1)  # epoch, offset
    journal_end: int = 0  # offset after the last record
    produced: dict[str, int] = field(default_factory=dict)  # messages by source
    store: dict[Fact, bytes] | None = None  # of the survivor


def gather(bootstrap: str, prefix: str, survivor: Store | None = None) -> Evidence:
    """Reads the topics as any committed reader does, and the store of the one that is left."""
    topics = topics_of(prefix)
    evidence = Evidence()
    parts: list[bytes] = []
    for record in read_topic(bootstrap, topics.journal):
        headers = dict(record.headers)
        parts = [*parts, record.value] if headers["part"] != b"0" else [record.value]
        evidence.journal_end = record.offset + 1
        if len(parts) < int(headers["parts"]):
            continue
        evidence.epochs.append(int(headers["epoch"]))
        for family, key, value in decode_changes(parts):
            assert not isinstance(value, Artifact)
            evidence.puts[family, key] += 1
            if value is None:
                evidence.facts.pop((family, key), None)
            else:
                evidence.facts[family, key] = value
    for sequence in read_sequences(bootstrap, topics.sequences):
        evidence.sequences.append((sequence.seq_no, sequence.doc_ids))
    for record in read_topic(bootstrap, topics.dead_letters):
        said = {key: value.decode() for key, value in record.headers}
        evidence.dead.append(
            f"{said['__streams.errors.topic']}-{said['__streams.errors.partition']}@{said['__streams.errors.offset']}"
        )
    evidence.produced = {f"{topics.documents}-{p}": end for p, end in end_offsets(bootstrap, topics.documents).items()}
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        for partition, at in group_offsets(admin, prefix).items():
            if partition == TopicPartition(topics.journal, 0):
                evidence.marker = (json.loads(at.metadata)["e"], at.offset)
            elif partition.topic == topics.documents:
                evidence.committed[f"{partition.topic}-{partition.partition}"] = at.offset
    if survivor is not None:
        evidence.store = {
            (family, key): value for family in ("meta", "inputs", "held") for key, value in survivor.items(family)
        }
    return evidence


def judge(evidence: Evidence) -> list[str]:
    """Contradictions to every document counting exactly once; none if all is well."""
    anomalies: list[str] = []
    say = anomalies.append
    facts = evidence.facts
    if evidence.epochs != list(range(len(evidence.epochs))):
        say(f"epochs are not dense: {evidence.epochs}")
    last = evidence.epochs[-1] if evidence.epochs else -1
    if evidence.marker != (last, evidence.journal_end):
        say(f"the marker is {evidence.marker}, the journal ends with {(last, evidence.journal_end)}")
    decided = {key.decode(): value.decode() for (family, key), value in facts.items() if family == "held"}
    pending: list[str] = json.loads(decided.pop("pending", "[]"))
    expected = {f"{source}@{place}" for source, count in evidence.produced.items() for place in range(count)}
    if lost := expected - decided.keys():
        say(f"{len(lost)} messages were never decided: {sorted(lost)[:5]}")
    if invented := decided.keys() - expected:
        say(f"{len(invented)} decisions on nothing: {sorted(invented)[:5]}")
    twice = [place for place in decided if evidence.puts["held", place.encode()] > 1]
    if twice:
        say(f"{len(twice)} messages were decided twice: {sorted(twice)[:5]}")
    for source, count in evidence.produced.items():
        if int(facts.get(("inputs", source.encode()), b"0")) != count or evidence.committed.get(source, 0) != count:
            say(f"{source} ends at {count}; the group is at {evidence.committed.get(source)}")
    anomalies += _judge_outputs(evidence, decided, pending)
    if evidence.store is not None:
        anomalies += _judge_store(evidence.store, facts)
    return anomalies


def _judge_outputs(evidence: Evidence, decided: dict[str, str], pending: list[str]) -> list[str]:
    anomalies: list[str] = []
    say = anomalies.append
    numbers = [seq_no for seq_no, _ in evidence.sequences]
    if numbers != list(range(len(numbers))):
        say(f"seq_no is not dense: {numbers}")
    if len(numbers) != int(evidence.facts.get(("meta", b"sequences"), b"0")):
        say(f"{len(numbers)} sequences, the state counts {evidence.facts.get(('meta', b'sequences'))!r}")
    accepted = Counter(value.removeprefix("accepted:") for value in decided.values() if value.startswith("accepted:"))
    if again := [doc_id for doc_id, count in accepted.items() if count > 1]:
        say(f"{len(again)} ids were accepted twice: {sorted(again)[:5]}")
    placed = Counter(pending)
    for _, doc_ids in evidence.sequences:
        placed.update(doc_ids)
    if placed != accepted:
        say(f"out or held, but not accepted: {sorted(placed - accepted)[:5]}; missing: {sorted(accepted - placed)[:5]}")
    unknown = {v.removeprefix("duplicate:") for v in decided.values() if v.startswith("duplicate:")} - accepted.keys()
    if unknown:
        say(f"duplicates of nothing: {sorted(unknown)[:5]}")
    dead = Counter(place for place, value in decided.items() if value == "dead")
    if Counter(evidence.dead) != dead:
        say(f"{len(evidence.dead)} dead letters, {sum(dead.values())} were decided")
    return anomalies


def _judge_store(store: dict[Fact, bytes], facts: dict[Fact, bytes]) -> list[str]:
    differing = sorted(fact for fact in (store.keys() | facts.keys()) - OWN_FACTS if store.get(fact) != facts.get(fact))
    return [f"the survivor's state is not the journal's: {differing[:5]}"] if differing else []
