"""`curatord dead-letters`: what could not be read, by reason, place and time; one of them; and back with them.

A folder is looked into without importing anything of Kafka.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from consumers.formats.dead_letters import StoredLetter
from consumers.formats.feedback import FEEDBACK_REASONS
from consumers.formats.timestamps import parse_timestamp
from consumers.formats.undecodable import REASONS
from curatord.errors import StateError, UsageError
from curatord.records import DeadLetter
from daemon.commands.read_state import Damage, opened_for_reading
from daemon.commands.screen import PATIENCE_S, show
from daemon.config import Config, load_config
from state.common_facts import DEAD_LETTERS

NUM_NEWEST = 3  # examples of each reason
SEND_AT_ONCE = 500
SEND_AT_ONCE_BYTES = 16 << 20
SHOWN_BYTES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which letters are meant."""

    reason: str = ""
    source: str = ""  # topic-partition or file that they came from
    since_us: int = 0

    def takes(self, stored: StoredLetter) -> bool:
        """Whether this one is."""
        return (
            (not self.reason or stored.letter.reason == self.reason)
            and (not self.source or stored.letter.source == self.source)
            and stored.timestamp_us >= self.since_us
        )


def make_filter(reason: str, source: str, since: str) -> Filter:
    """From the options of a command. Raises `UsageError` for a time that cannot be read."""
    since_us = parse_timestamp(since) if since else 0
    if since and not since_us:
        raise UsageError(f"--since {since!r} is no time: write it like 2026-01-31T10:00, in UTC")
    return Filter(reason=reason, source=source, since_us=since_us)


@dataclass(slots=True)
class Overview:
    """Letters, counted."""

    letters: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    by_source: Counter[str] = field(default_factory=Counter)
    by_day: Counter[str] = field(default_factory=Counter)
    newest: dict[str, deque[StoredLetter]] = field(default_factory=dict)  # by reason

    def count(self, stored: StoredLetter) -> None:
        """One more."""
        letter = stored.letter
        self.letters += 1
        self.by_reason[letter.reason] += 1
        self.by_source[letter.source] += 1
        if stored.timestamp_us:
            self.by_day[_time(stored.timestamp_us)[:10]] += 1
        examples = self.newest.setdefault(letter.reason, deque())
        examples.append(stored)
        if len(examples) > NUM_NEWEST:
            examples.remove(min(examples, key=lambda example: example.timestamp_us))


def list_letters(config_path: Path | None, output: Path | None, wanted: Filter, *, as_json: bool) -> int:
    """Print counts by reason, source and day, and the newest of each reason; 65 if the state is damaged, else 0.

    Raises `BrokerUnavailable`, `ConfigError`, `UsageError`.
    """
    overview = Overview()
    damage = Damage()
    with _letters(config_path, output, wanted, damage) as letters:
        for stored in letters:
            overview.count(stored)
    if as_json:
        newest = {reason: [_tree(stored) for stored in _sorted(found)] for reason, found in overview.newest.items()}
        counts = {name: dict(getattr(overview, name)) for name in ("by_reason", "by_source", "by_day")}
        click.echo(json.dumps({"letters": overview.letters, **counts, "newest": newest}, indent=2))
    else:
        show(*_overview_lines(overview))
        for problem in damage.problems:
            show(f"DAMAGED, read as far as possible: {problem}")
    return StateError.exit_code if damage.problems else 0


def show_letter(config_path: Path | None, output: Path | None, place: str, *, as_json: bool, raw: bool) -> None:
    """Print one letter; with `raw` its original and nothing else. Raises as `list_letters`."""
    if output is not None:
        stored = _find_embedded(output, place)
    else:
        from consumers.kafka.replay import find_letter

        config = _config(config_path)
        stored = find_letter(config.kafka, config.topics.dead_letters, place)
    if raw:
        click.echo(stored.letter.original, nl=False)
    elif as_json:
        click.echo(json.dumps(_tree(stored), indent=2))
    else:
        show(*_letter_lines(stored))


def replay_letters(
    config_path: Path | None, places: Sequence[str], wanted: Filter, *, dry_run: bool, as_json: bool
) -> int:
    """Send originals back; 1 if some were refused, else 0. With `dry_run` only tell.

    Raises `BrokerUnavailable`, `ConfigError`, `UsageError` for a place without a letter.
    """
    from consumers.kafka.replay import Original, Refusal, find_letter, originals, read_letters, send

    def send_waiting() -> None:
        if waiting and not dry_run:
            send(kafka, topics.documents, waiting)
        waiting.clear()

    config = _config(config_path)
    kafka, topics = config.kafka, config.topics
    letters: Iterable[StoredLetter]
    if places:
        letters = [find_letter(kafka, topics.dead_letters, place) for place in places]
    else:
        letters = filter(wanted.takes, read_letters(kafka, topics.dead_letters, since_us=wanted.since_us))
    replayed: Counter[str] = Counter()
    refused: list[Refusal] = []
    waiting: list[Original] = []
    for found in originals(kafka, topics.documents, letters):
        if isinstance(found, Refusal):
            refused.append(found)
            continue
        replayed[found.stored.letter.reason] += 1
        waiting.append(found)
        if sum(len(message.value or b"") for message in waiting) > SEND_AT_ONCE_BYTES or len(waiting) == SEND_AT_ONCE:
            send_waiting()
    send_waiting()
    if as_json:
        listed = [{"place": refusal.stored.place, "why": refusal.why} for refusal in refused]
        click.echo(json.dumps({"dry_run": dry_run, "replayed": dict(replayed), "refused": listed}, indent=2))
    else:
        for refusal in refused:
            show(f"{refusal.stored.place} stays: {refusal.why}")
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in replayed.most_common()) or "none"
        show(f"{'would be ' if dry_run else ''}sent to {topics.documents}: {reasons}; {len(refused):,} refused")
    return 1 if refused else 0


def _config(path: Path | None) -> Config:
    """The configuration, with the patience of a command."""
    config = load_config(path)
    return msgspec.structs.replace(config, kafka=config.kafka.patient(PATIENCE_S))


@contextmanager
def _letters(
    config_path: Path | None, output: Path | None, wanted: Filter, damage: Damage
) -> Iterator[Iterable[StoredLetter]]:
    """The letters of a topic or, with `output`, of a folder."""
    if output is None:
        from consumers.kafka.replay import read_letters

        config = _config(config_path)
        letters = read_letters(config.kafka, config.topics.dead_letters, since_us=wanted.since_us)
        yield filter(wanted.takes, letters)
        return
    with opened_for_reading(output) as store:
        yield filter(wanted.takes, itertools.starmap(_embedded, damage.as_far_as_readable(DEAD_LETTERS.items(store))))


def _embedded(number: int, letter: DeadLetter) -> StoredLetter:
    return StoredLetter(str(number), letter.timestamp_us, letter)


def _find_embedded(output: Path, place: str) -> StoredLetter:
    if not place.isdecimal() or int(place) >= 1 << 64:
        raise UsageError(f"{place!r} is no number of a dead letter, as `dead-letters list -o {output}` prints it")
    with opened_for_reading(output) as store:
        letter = DEAD_LETTERS.get(store, int(place))
    if letter is None:
        raise UsageError(f"there is no dead letter {place} in {output}")
    return _embedded(int(place), letter)


def _sorted(letters: Iterable[StoredLetter]) -> list[StoredLetter]:
    return sorted(letters, key=lambda stored: stored.timestamp_us, reverse=True)


def _tree(stored: StoredLetter) -> dict[str, Any]:
    """The letter as JSON; bytes in base64."""
    letter = msgspec.to_builtins(stored.letter, builtin_types=(bytes,))
    original = base64.b64encode(stored.letter.original).decode()
    return {"place": stored.place, "written": _time(stored.timestamp_us), **letter, "original": original}


def _overview_lines(overview: Overview) -> Iterator[str]:
    if not overview.letters:
        yield "No dead letters."
        return
    yield f"{overview.letters:,} dead letters"
    for title, counts in (("Reason", overview.by_reason), ("From", overview.by_source), ("Day", overview.by_day)):
        if counts:
            yield ""
            yield f"{title:<40}{'letters':>12}"
            ordered = sorted(counts.items()) if title == "Day" else counts.most_common()
            yield from (f"  {name:<38}{count:>12,}" for name, count in ordered)
    yield ""
    yield "Newest"
    for reason, _ in overview.by_reason.most_common():
        for stored in _sorted(overview.newest[reason]):
            letter = stored.letter
            yield f"  {stored.place:<12}{_time(stored.timestamp_us)}  {_where(letter)}  {reason}: {letter.message[:90]}"


def _letter_lines(stored: StoredLetter) -> Iterator[str]:
    letter = stored.letter
    yield f"{letter.reason}: {letter.message}"
    if meaning := (REASONS | FEEDBACK_REASONS).get(letter.reason):
        yield f"  ({meaning})"
    yield f"  from         {_where(letter)}"
    if stored.timestamp_us:
        yield f"  written      {_time(stored.timestamp_us)}"
    if letter.timestamp_us:
        yield f"  message of   {_time(letter.timestamp_us)}"
    if letter.key:
        yield f"  key          {letter.key!a}"
    if letter.traceparent:
        yield f"  traceparent  {letter.traceparent}"
    if letter.attempts:
        yield f"  replayed     {letter.attempts} times"
    what = "its beginning" if letter.truncated else "whole"
    yield f"  original     {len(letter.original):,} bytes, {what}:"
    yield ascii(letter.original[:SHOWN_BYTES].decode("utf-8", "backslashreplace"))


def _where(letter: DeadLetter) -> str:
    return f"{letter.source}:{letter.position}" + ("" if letter.index is None else f":{letter.index}")


def _time(moment_us: int) -> str:
    """UTC to the second; empty if unknown."""
    try:
        return datetime.fromtimestamp(moment_us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S") if moment_us else ""
    except (ValueError, OverflowError, OSError):
        return "after the year 9999"
