"""Ledger: where every document, byte and token went. It adds up, and a run that does not add up stops.

documents_read = accepted + rejected + redelivered + dead + retractions      (bytes likewise)
tokens_accepted = tokens_emitted_first + tokens_held + tokens_rejected_later
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from curatord.errors import StateError
from state.edits import decode_edits
from state.facts import FactSource, packed, single
from state.outcomes import AnyReason, LaterReason, Stage, outcome_key, split_key

MAX_SOURCES = 200
OTHER_SOURCES = "(other sources)"
OUTCOMES = ("accepted", "rejected", "redelivered", "dead", "retraction")


class Ledger(msgspec.Struct, kw_only=True):
    """Totals over the life of the state. Persisted with every epoch."""

    rows_read: int = 0
    bytes_read: int = 0
    rows: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    bytes: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    rejections: dict[str, int] = msgspec.field(default_factory=dict)  # `outcome_key` -> documents
    rejected_later: dict[str, int] = msgspec.field(default_factory=dict)  # reason -> accepted documents taken back
    dead: dict[str, int] = msgspec.field(default_factory=dict)  # reason -> rows
    sources: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)  # source -> stage, "" for all -> documents
    would_drop: dict[str, int] = msgspec.field(default_factory=dict)  # quality rule -> documents that fail it
    bytes_measured: int = 0  # of documents that the quality rules looked at
    would_drop_bytes: dict[str, int] = msgspec.field(
        default_factory=dict
    )  # quality preset -> bytes of those that fail it
    tokens_accepted: int = 0
    tokens_emitted_first: int = 0  # each document's tokens once
    tokens_emitted_again: int = 0  # repeats of the mixture
    tokens_rejected_later: int = 0
    sequences: int = 0
    flushes: int = 0
    masked: dict[str, int] = msgspec.field(default_factory=dict)  # kind -> what was masked in documents

    def count(self, outcome: str, documents: int, num_bytes: int) -> None:
        """Rows that were read and ended in this outcome."""
        self.rows_read += documents
        self.bytes_read += num_bytes
        self.rows[outcome] += documents
        self.bytes[outcome] += num_bytes

    def reject(self, stage: Stage, reason: AnyReason, documents: int, num_bytes: int) -> None:
        """Documents that a stage rejected when they were read."""
        self.count("rejected", documents, num_bytes)
        key = outcome_key(stage, reason)
        self.rejections[key] = self.rejections.get(key, 0) + documents

    def count_edits(self, edits: Sequence[str]) -> None:
        """Add edits of documents, as `state.edits` writes them."""
        for edit in filter(None, edits):
            for (_, kind), count in decode_edits(edit).items():
                self.masked[kind] = self.masked.get(kind, 0) + count

    def count_source(self, source: str, stage: Stage | Literal[""], documents: int) -> None:
        """Documents of one source that a stage rejected, or that it kept for ""; the first MAX_SOURCES by name."""
        if source not in self.sources and len(self.sources) >= MAX_SOURCES:
            source = OTHER_SOURCES
        counts = self.sources.setdefault(source, {})
        for name in {"", stage}:
            counts[name] = counts.get(name, 0) + documents

    def reject_later(self, reason: LaterReason, num_tokens: int) -> None:
        """One accepted document was taken back; `num_tokens` of it had not been emitted."""
        self.rejected_later[reason] = self.rejected_later.get(reason, 0) + 1
        self.tokens_rejected_later += num_tokens

    def counted(self) -> dict[tuple[str, ...], int]:
        """The totals by metric and labels."""
        totals: dict[tuple[str, ...], int] = {}
        for key, count in self.rejections.items():
            totals["rejections_total", *split_key(key)] = count
        for metric, counts in (
            ("documents_total", self.rows),
            ("taken_back_total", self.rejected_later),
            ("rule_failures_total", self.would_drop),
            ("dead_letters_total", self.dead),
        ):
            totals.update({(metric, label): count for label, count in counts.items()})
        return {
            **totals,
            ("read_bytes_total",): self.bytes_read,
            ("sequences_total",): self.sequences,
            ("tokens_total", "accepted"): self.tokens_accepted,
            ("tokens_total", "emitted"): self.tokens_emitted_first,
            ("tokens_total", "emitted_again"): self.tokens_emitted_again,
            ("tokens_total", "taken_back"): self.tokens_rejected_later,
            ("flushes_total",): self.flushes,
        }

    def measured(self) -> dict[str, float | dict[str, float]]:
        """The tokens that wait, as `check` finds them at every commit."""
        return {"held_tokens": self.tokens_accepted - self.tokens_emitted_first - self.tokens_rejected_later}

    def check(self, tokens_held: int) -> None:
        """Raise `StateError` with the numbers if anything is unaccounted for."""
        for name, read, ended in (
            ("rows", self.rows_read, sum(self.rows.values())),
            ("bytes", self.bytes_read, sum(self.bytes.values())),
            ("rejections", self.rows["rejected"], sum(self.rejections.values())),
            ("dead letters", self.rows["dead"], sum(self.dead.values())),
            (
                "tokens",
                self.tokens_accepted,
                self.tokens_emitted_first + tokens_held + self.tokens_rejected_later,
            ),
        ):
            if read != ended:
                raise StateError(
                    f"the ledger does not add up: {read} {name} came in, {ended} are accounted for. "
                    "This is a defect of curatord; the state up to the last commit is sound. Please report it with "
                    "the output of `curatord inspect state`"
                )


LEDGER = single("ledger", packed(Ledger))


def read_ledger(committed: FactSource) -> Ledger:
    """The totals at the last commit; a fresh ledger where there is none."""
    return LEDGER.get(committed, None) or Ledger()
