"""The archive of a topic of sequences: Parquet shards with the same numbers, for what retention will cut.

The archive is its own memory: a start goes on behind the last shard that lies there, so that each sequence is in it
once, however often the process ended. A shard is whole when it is there; the manifest follows it.

    wait for the next sequence ─ a full shard, or an old one? ─ write it here ─ put it there ─ manifest
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from consumers.files.destination import Destination
from consumers.files.shards import shard_name, write_sequences
from curatord.errors import GenerationEnded, StateBusy
from curatord.folder import shards_among
from curatord.output_folder import MANIFEST
from curatord.sequence import EndOfStream, PackedSequence
from curatord.source import Plan, Source

SHARD_TOKENS = 16 << 20  # of a full shard, which is some 40 MB


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A sequence of the stream."""

    generation: int
    seq_no: int


@dataclass(frozen=True, slots=True)
class Archived:
    """A shard that was put."""

    name: str
    sequences: int
    next_place: Place


@dataclass(slots=True)
class _Open:
    """The shard that is being filled."""

    sequences: list[PackedSequence] = field(default_factory=list)
    since_s: float = 0.0


class Archiver:
    """One topic into one destination. Two of them for one destination get in each other's way: the later one ends.

    `max_wait_s`: a shard that is not full is put after this long. `clock` gives seconds, of any origin.
    """

    def __init__(
        self,
        source: Source,
        destination: Destination,
        *,
        max_wait_s: float,
        shard_tokens: int = SHARD_TOKENS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._destination = source, destination
        self._max_wait_s, self._shard_tokens, self._clock = max_wait_s, shard_tokens, clock
        self._manifest = json.loads(destination.read(MANIFEST) or b"{}")
        self.place = self._last_archived() or oldest(source)
        self._open = _Open()
        self._begin_generation()

    def run(self) -> Iterator[Archived | None]:
        """Archive for ever; each shard when it is there, None while there is nothing to do.

        Raises `RetentionLost` where the topic was cut before it was archived, `StateBusy`, `BrokerUnavailable`,
        `StoreUnavailable`, `OSError`. After any of them a new archiver goes on.
        """
        while True:
            begun = self.place
            try:
                for item in self._source.read(self._plan()):
                    if isinstance(item, EndOfStream):
                        yield from self._put()
                        self._note_end(item)
                        break
                    if item is not None:
                        yield from self._add(item.load())
                    elif self._open.sequences and self._clock() - self._open.since_s >= self._max_wait_s:
                        yield from self._put()
                    else:
                        yield None
            except GenerationEnded:
                yield from self._put()
                self.place = Place(begun.generation + 1, 0)
                self._begin_generation()

    def flush(self) -> Iterator[Archived]:
        """Put what waits. Raises as `run`."""
        yield from self._put()

    def reached(self) -> Place:
        """The sequence that comes next, archived or not."""
        return Place(self.place.generation, self.place.seq_no + len(self._open.sequences))

    def lag(self) -> int:
        """About how many sequences of this generation the topic has that are not archived."""
        return max(0, self._source.newest() - self.place.seq_no)

    def _plan(self) -> Plan:
        place = self.place
        # An end that stands here was noted, or a process ended just before it could.
        is_noted = place.seq_no in self._manifest.get("ends", {}).get(str(place.generation), [])
        return Plan(generation=place.generation, first=place.seq_no, stop_from=place.seq_no + is_noted)

    def _add(self, sequence: PackedSequence) -> Iterator[Archived]:
        if not self._open.sequences:
            self._open.since_s = self._clock()
        self._open.sequences.append(sequence)
        # Cut at multiples, so that shards are alike where a start came between.
        if (sequence.seq_no + 1) % max(1, self._shard_tokens // sequence.context_length) == 0:
            yield from self._put()

    def _put(self) -> Iterator[Archived]:
        sequences, self._open = self._open.sequences, _Open()
        if not sequences:
            return
        self._check_alone()
        name = shard_name(sequences)
        with tempfile.TemporaryDirectory(prefix="curatord-archive-") as folder:
            path = Path(folder, name)
            write_sequences(path, sequences)
            self._destination.put(path, name)
        self._destination.sync()
        last = sequences[-1]
        self.place = Place(last.generation, last.seq_no + 1)
        self._manifest |= {
            "tokenizer_digest": f"{last.tokenizer_digest:016x}",
            "generation": last.generation,
            "context_length": last.context_length,
        }
        self._write_manifest()
        yield Archived(name, len(sequences), self.place)

    def _check_alone(self) -> None:
        """Raise `StateBusy` if another archiver put what this one is about to."""
        last = self._last_archived()
        if last is not None and last > self.place:
            raise StateBusy(
                f"{self._destination.name} has sequences up to {last.seq_no - 1:,} of generation {last.generation}, "
                f"which this process did not archive: another `curatord archive` writes there. End one of them, or "
                "give each a folder of its own"
            )

    def _last_archived(self) -> Place | None:
        """Behind the last sequence that lies there."""
        found = shards_among(self._destination.shards())
        return max((Place(shard.generation, shard.last + 1) for shard in found), default=None)

    def _begin_generation(self) -> None:
        """Note with which sequence the archive has a generation."""
        self._manifest.setdefault("begins", {}).setdefault(str(self.place.generation), self.place.seq_no)
        self._write_manifest()

    def _note_end(self, end: EndOfStream) -> None:
        ends = self._manifest.setdefault("ends", {}).setdefault(str(end.generation), [])
        if end.seq_no not in ends:
            ends.append(end.seq_no)
            self._write_manifest()

    def _write_manifest(self) -> None:
        with tempfile.TemporaryDirectory(prefix="curatord-archive-") as folder:
            path = Path(folder, "manifest.json")
            path.write_text(json.dumps(self._manifest, indent=2), encoding="utf-8")
            self._destination.put(path, MANIFEST)
        self._destination.sync()


def oldest(source: Source) -> Place:
    """The first sequence that a topic still has. Raises `BrokerUnavailable`."""
    bounds = source.bounds(None)
    while bounds.generation > 0:
        before = source.bounds(bounds.generation - 1)
        if before.first >= before.end:
            break
        bounds = before
    return Place(bounds.generation, bounds.first)
