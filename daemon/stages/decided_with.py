"""The fact that says from which row on which options held. Light to import, for commands that read a state."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from state.facts import FactSource, packed, single

MAX_RECORDS = 100  # that are remembered: the newest changes


class DecidedWith(msgspec.Struct, frozen=True, array_like=True):
    """These options held from the row with this ordinal on; values as TOML has them."""

    from_ordinal: int
    options: dict[str, str]


DECIDED_WITH = single("options", packed(list[DecidedWith]))  # oldest first


def with_options(records: Sequence[DecidedWith], options: dict[str, str], from_ordinal: int) -> list[DecidedWith]:
    """The same records, and that these options hold from now on."""
    if records and records[-1].options == options:
        return list(records)
    return [*records, DecidedWith(from_ordinal, options)][-MAX_RECORDS:]


def options_at(committed: FactSource, ordinal: int) -> dict[str, str]:
    """The options that the row with this ordinal was decided with; none where they are forgotten."""
    records = [record for record in DECIDED_WITH.get(committed, None) or [] if record.from_ordinal <= ordinal]
    return records[-1].options if records else {}
