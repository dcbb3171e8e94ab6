"""Facts of an output folder or of a service, opened to be read only, and as far as damage lets them be read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import msgspec

from curation.selection.buffered import BUFFERED
from curatord.errors import ConfigError, StateError, UsageError
from daemon.stages.decided_with import options_at
from packing.pieces import PIECES
from packing.rows import CLOSED_ROWS, OPEN_ROWS
from state.common_facts import RETRACTED
from state.document_numbers import named, numbers_from
from state.store import Store, state_folder

T = TypeVar("T")

MAX_ORDINAL = (1 << 63) - 1

# rocksdict writes this file whenever it opens a folder, even to read.
WRITTEN_AT_OPENING = "rocksdict-config.json"


def state_in(place: Path) -> Path:
    """The state of an output folder, or of a service, whose folder it is. Raises `UsageError` if there is none."""
    for folder in (state_folder(place), place):
        if (folder / "CURRENT").exists():
            return folder
    raise UsageError(f"there is no state in {place}: is --output, or [state] dir, right?")


@contextmanager
def opened_for_reading(place: Path) -> Iterator[Store]:
    """The state of an output folder or a service, which may run; it may lie on a disk that cannot be written.

    Raises as `state_in` and `Store` do.
    """
    folder = state_in(place)
    with TemporaryDirectory(prefix="curatord-") as links:
        if os.access(folder, os.W_OK):
            store = Store(folder, read_only=True)
        else:
            for path in folder.iterdir():
                if path.name != WRITTEN_AT_OPENING:
                    (Path(links) / path.name).symlink_to(path.absolute())
            store = Store(Path(links), read_only=True)
            store.folder = folder
        try:
            yield store
        finally:
            store.close()


def is_masked(store: Store) -> bool:
    """Whether the rows that were read last were masked."""
    return options_at(store, MAX_ORDINAL).get("mask.enabled") == "true"


def refuse_unmasked(store: Store, *, masks: bool) -> None:
    """Raise `ConfigError` if the state knows ids and texts as they are masked, and this command does not mask."""
    if is_masked(store) and not masks:
        raise ConfigError(
            "what this state knows is masked, so the ids and texts of producers are not found in it as they are: give "
            "the configuration that it was made with, and its key, with --config"
        )


@dataclass(slots=True)
class Damage:
    """Facts that could not be read, a sentence each."""

    problems: list[str] = field(default_factory=list)

    def as_far_as_readable(self, values: Iterable[T]) -> Iterator[T]:
        """The values up to the first that is damaged, which is noted."""
        try:
            yield from values
        except (StateError, msgspec.DecodeError) as error:
            problem = str(error.__cause__ or error)
            if problem not in self.problems:
                self.problems.append(problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPiece:
    """Tokens [start, end) of a document that the packer holds."""

    doc_no: int
    start: int
    end: int
    cluster: int
    policy_version: int
    propensity: float
    weight: float
    quality: float
    place: str  # "pool", "open row" or "closed row"


def held_pieces(store: Store, damage: Damage) -> list[HeldPiece]:
    """All pieces in the packer."""
    places: dict[int, str] = {}
    for _, numbers in damage.as_far_as_readable(OPEN_ROWS.items(store)):
        places |= dict.fromkeys(numbers, "open row")
    for _, row in damage.as_far_as_readable(CLOSED_ROWS.items(store)):
        places |= dict.fromkeys(row.numbers, "closed row")
    return [
        HeldPiece(
            doc_no=piece.doc_no,
            start=piece.start,
            end=piece.end,
            **named(numbers_from([piece.numbers])[0]),
            place=places.get(number, "pool"),
        )
        for number, piece in damage.as_far_as_readable(PIECES.items(store))
    ]


def buffered_documents(store: Store, damage: Damage) -> set[int]:
    """Numbers of the documents in the balance buffers of the mixture."""
    return set(damage.as_far_as_readable(BUFFERED.keys(store)))


def retracted_documents(store: Store, damage: Damage) -> dict[int, str]:
    """Documents that were taken back, and the `LaterReason` of each."""
    return dict(damage.as_far_as_readable(RETRACTED.items(store)))
