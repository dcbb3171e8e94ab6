"""The audit: from what the world sees alone, whether every document was decided once and every token went out once."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from kafka.consumer.fetcher import ConsumerRecord

from curatord.sequence import HEAD_PRESENT, TAIL_PRESENT, PackedSequence
from state.journal import Artifact, decode_changes
from state.ledger import LEDGER, Ledger
from state.segments import DOCUMENTS
from tests.integration.lane import Lane
from tests.integration.world import read_sequences, read_topic


@dataclass(slots=True)
class Journal:
    """The facts that the journal adds up to."""

    epochs: list[int] = field(default_factory=list)
    facts: dict[tuple[str, bytes], bytes | Artifact] = field(default_factory=dict)

    @property
    def ledger(self) -> Ledger:
        value = self.facts.get(("meta", b"ledger"))
        assert not isinstance(value, Artifact)
        return LEDGER.value.decode(value)


def replay(records: list[ConsumerRecord]) -> Journal:
    """All epochs, one after another."""
    journal = Journal()
    parts: list[bytes] = []
    for record in records:
        headers = dict(record.headers)
        if headers["part"] == b"0":
            parts = []
        parts.append(record.value)
        if len(parts) == int(headers["parts"]):
            journal.epochs.append(int(headers["epoch"]))
            for family, key, value in decode_changes(parts):
                if value is None:
                    journal.facts.pop((family, key), None)
                else:
                    journal.facts[family, key] = value
    return journal


@dataclass(slots=True)
class Audit:
    """Findings of an audit."""

    anomalies: list[str]
    journal: Journal
    sequences: list[PackedSequence]
    documents: int = 0
    accepted: int = 0


def audit(lane: Lane, num_rows: int) -> Audit:
    """Everything that the lane's topics show, held against each other; `num_rows` went in, one a message."""
    journal = replay(read_topic(lane.bootstrap, lane.topics["journal"]))
    sequences = read_sequences(lane.bootstrap, lane.topics["sequences"])
    dead = read_topic(lane.bootstrap, lane.topics["dead_letters"])
    found = Audit(anomalies=[], journal=journal, sequences=sequences)
    say = found.anomalies.append
    if journal.epochs != list(range(len(journal.epochs))):
        say(f"epochs are not dense: {journal.epochs[:20]}")
    ledger = journal.ledger
    if ledger.rows_read != num_rows:
        say(f"{num_rows} rows went in, {ledger.rows_read} were read")
    decided: Counter[tuple[str, int]] = Counter()
    accepted: dict[str, int] = {}
    for (family, _), value in journal.facts.items():
        if family == "documents" and isinstance(value, bytes):
            segment = DOCUMENTS.value.decode(value)
            positions = memoryview(segment.positions).cast("q")
            outcome_index = memoryview(segment.outcome_index).cast("H")
            num_tokens = memoryview(segment.num_tokens).cast("q")
            for row, doc_id in enumerate(segment.ids):
                decided[segment.inputs[0], positions[row]] += 1
                if segment.outcomes[outcome_index[row]] == ("", ""):
                    accepted[doc_id] = num_tokens[row]
    found.documents, found.accepted = len(decided), len(accepted)
    twice = [place for place, count in decided.items() if count > 1]
    if twice:
        say(f"{len(twice)} rows were decided twice: {twice[:5]}")
    if len(decided) != ledger.rows["accepted"] + ledger.rows["rejected"]:
        say(f"{len(decided)} decisions, but the ledger has {ledger.rows}")
    if len(dead) != ledger.rows["dead"]:
        say(f"{len(dead)} dead letters, but the ledger has {ledger.rows['dead']}")
    coordinates = Counter(dict(letter.headers)["__streams.errors.offset"] for letter in dead)
    if any(count > 1 for count in coordinates.values()):
        say("a dead letter was written twice")
    _check_sequences(found, accepted, ledger)
    return found


def _check_sequences(found: Audit, accepted: dict[str, int], ledger: Ledger) -> None:
    say = found.anomalies.append
    numbers = [sequence.seq_no for sequence in found.sequences]
    if numbers != list(range(len(numbers))):
        say(f"seq_no is not dense: {len(numbers)} sequences, {numbers[:10]}...")
    if len(numbers) != ledger.sequences:
        say(f"{len(numbers)} sequences, but the ledger has {ledger.sequences}")
    pieces: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for sequence in found.sequences:
        for row, doc_id in enumerate(sequence.doc_ids):
            start = int(sequence.segment_offsets_S[row])
            length = int(sequence.segment_lengths_S[row])
            pieces[doc_id].append((start, start + length, int(sequence.segment_flags_S[row])))
    unknown = pieces.keys() - accepted.keys()
    if unknown:
        say(f"{len(unknown)} documents went out that were never accepted: {sorted(unknown)[:5]}")
    missing = 0
    for doc_id, num_tokens in accepted.items():
        at = 0
        for start, end, flags in sorted(pieces.get(doc_id, [])):
            if start < at:
                say(f"tokens {start} to {at} of {doc_id} went out twice")
            missing += start - at
            at = max(at, end)
            if bool(flags & HEAD_PRESENT) != (start == 0) or bool(flags & TAIL_PRESENT) != (end == num_tokens):
                say(f"the flags of {doc_id} do not fit its tokens")
        missing += num_tokens - at
    held = ledger.tokens_accepted - ledger.tokens_emitted_first - ledger.tokens_rejected_later
    if missing != held:
        say(f"{missing} accepted tokens did not go out, but {held} are held")
