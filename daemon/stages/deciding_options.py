"""The options that documents were decided with. Others count for documents to come, never for those that were read.

A fact says from which row on which options held, so that a run with others can say so, and how to decide anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec

from curation.acquisition.url_lists import open_urls
from daemon.config import Config, toml_value
from daemon.stages.decided_with import DECIDED_WITH
from state.common_facts import NEXT_ORDINAL
from state.facts import FactSource

# The sections that say how documents are found, decided and made into sequences; the others say how the process works.
SECTIONS = (
    *("input", "mask", "output", "urls", "dedup", "decontaminate", "quality", "language", "tokenizer"),
    *("embedding", "clusters", "target", "bandit", "feedback", "mixture", "weights", "packing"),
)
BESIDES = ("output.max_wait_s",)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """An option that is not what rows were decided with."""

    name: str
    before: dict[str, int]  # value -> rows that were decided with it
    now: str

    def __str__(self) -> str:
        had = ", ".join(f"{value} for {rows:,} rows" for value, rows in self.before.items())
        return f"{self.name}: {had}; now {self.now}"


def deciding_options(config: Config) -> dict[str, str]:
    """Every option on which it hangs what becomes of a document."""
    found: dict[str, str] = {}

    def add(path: str, value: Any) -> None:
        if isinstance(value, msgspec.Struct):
            for field in msgspec.structs.fields(value):
                add(f"{path}.{field.name}", getattr(value, field.name))
        elif path not in BESIDES:
            found[path] = "unset" if value is None else toml_value(value)

    for section in SECTIONS:
        add(section, getattr(config, section))
    if config.urls.block or config.urls.allow:
        found["urls (digest)"] = open_urls(config.urls).digest
    return found


def differences(committed: FactSource, config: Config) -> list[Difference]:
    """The options that rows in the store were decided with and that are others now."""
    records = DECIDED_WITH.get(committed, None) or []
    end = NEXT_ORDINAL.get(committed, None) or 0
    now = deciding_options(config)
    bounds = [record.from_ordinal for record in records] + [end]
    found = []
    for name, value in now.items():
        before: dict[str, int] = {}
        for record, (first, last) in zip(records, pairwise(bounds), strict=True):
            had = record.options.get(name, value)
            before[had] = before.get(had, 0) + last - first
        before = {had: rows for had, rows in before.items() if had != value and rows}
        if before:
            found.append(Difference(name=name, before=before, now=value))
    return found


def described(found: Sequence[Difference], *, way_out: str) -> str:
    """The message for a person."""
    listed = "\n".join(f"  {difference}" for difference in found)
    return (
        f"Options differ from those that documents were decided with:\n{listed}\n"
        f"They count for new documents only; what was read stays as it was decided. {way_out}"
    )
