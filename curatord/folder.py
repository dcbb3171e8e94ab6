"""A folder of Parquet shards as a source, also while `curatord curate` or `curatord archive` adds to it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curatord.errors import CorruptSequence, GenerationEnded, RetentionLost, SequenceGap, StreamError
from curatord.no_loss import Ranges
from curatord.output_folder import OutputFolder
from curatord.sequence import EndOfStream, PackedSequence
from curatord.source import Bounds, Found, Plan, missing

SHARD_NAME = re.compile(r"train-(\d{3,})-(\d{10,})-(\d{10,})\.parquet")
_LISTS = (
    "input_ids",
    "seq_lengths",
    "segment_offsets",
    "segment_flags",
    "clusters",
    "policy_versions",
    "propensities",
)
# Columns that a shard has where there is something to say.
_ADDED = ("weights", "qualities", "no_loss")


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """A file of sequences: first and last that it holds."""

    generation: int
    first: int
    last: int
    name: str


def shards_among(names: Iterable[str]) -> list[Shard]:
    """The shards among files of these names, in the order of their numbers."""
    found = map(SHARD_NAME.fullmatch, names)
    return sorted(Shard(int(m[1]), int(m[2]), int(m[3]), m[0]) for m in found if m is not None)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Some rows of a shard as flat columns; list i of a column is values[bounds[i] : bounds[i + 1]]."""

    seq_nos: list[int]
    lists: dict[str, tuple[NDArray[np.int32], NDArray[Any]]]
    doc_ids: Any  # ListArray of strings
    generation: int
    context_length: int
    tokenizer_digest: int

    def sequence(self, row: int) -> PackedSequence:
        tokens, lengths, offsets, flags, clusters, policies, propensities = (
            values[bounds[row] : bounds[row + 1]] for bounds, values in (self.lists[name] for name in _LISTS)
        )
        return PackedSequence(
            seq_no=self.seq_nos[row],
            generation=self.generation,
            context_length=self.context_length,
            tokens_T=tokens.view(np.uint32),
            segment_lengths_S=lengths.view(np.uint32),
            segment_offsets_S=offsets.view(np.uint32),
            segment_flags_S=flags.astype(np.uint8),
            doc_ids=tuple(self.doc_ids[row].as_py()),
            clusters_S=clusters,
            policy_versions_S=policies,
            propensities_S=propensities,
            tokenizer_digest=self.tokenizer_digest,
            weights_S=self._added("weights", row),
            qualities_S=self._added("qualities", row),
            no_loss_R2=self._no_loss(row),
        )

    def _added(self, name: str, row: int) -> NDArray[Any] | None:
        if name not in self.lists:
            return None
        bounds, values = self.lists[name]
        part: NDArray[Any] = values[bounds[row] : bounds[row + 1]]
        return part

    def _no_loss(self, row: int) -> Ranges | None:
        bounds = self._added("no_loss", row)
        return bounds.view(np.uint32).reshape(-1, 2) if bounds is not None and len(bounds) else None


class FolderSource:
    """The shards of an output folder. It ends where `curatord curate` ended, and waits while that goes on.

    A folder without `.curatord` is a copy that does not grow: it ends with its last shard.
    """

    identity = ""

    def __init__(self, folder: OutputFolder) -> None:
        self._folder = folder
        self._newest = 0

    def bounds(self, generation: int | None) -> Bounds:
        shards = self._shards()
        if generation is None:
            generation = shards[-1].generation if shards else int(self._manifest().get("generation", 0))
        ours = [shard for shard in shards if shard.generation == generation]
        if not ours:
            if shards and generation < shards[-1].generation:
                raise StreamError(
                    f"{self._folder.name} holds nothing of generation {generation}; its newest is "
                    f"{shards[-1].generation}"
                )
            return Bounds(generation=generation, first=0, end=0)
        return Bounds(generation=generation, first=ours[0].first, end=ours[-1].last + 1)

    def generations(self) -> set[int]:
        """Those of which there are shards."""
        return {shard.generation for shard in self._shards()}

    def stop_from(self, generation: int, first: int) -> int:
        """The last end that is known; or, behind it, the place where the next may be."""
        latest = max(self._ends(generation), default=0)
        if latest > first:
            return latest
        return first + 1 if self._ahead(generation, first) else first

    def newest(self) -> int:
        return self._newest

    def read(self, plan: Plan) -> Iterator[Found | EndOfStream | None]:
        at = plan.first  # the next number, of any rank
        while True:
            ahead = self._ahead(plan.generation, at)
            if ahead and ahead[0].first > at:
                # While shards are moved into the folder, a list of it may hold a later one and lack an earlier one.
                time.sleep(self._folder.poll_s)
                ahead = self._ahead(plan.generation, at)
            end = self._end(plan.generation, plan.stop_from)
            if at == end and at - plan.first < plan.world:
                self._check_newest(plan.generation, at)  # there was no step left to take in this one
            if at == end or (end is None and not ahead and self._is_over(plan.generation, at)):
                yield EndOfStream(plan.generation, at)
                return
            if not ahead:
                yield None
                time.sleep(self._folder.poll_s)
            for place, shard in enumerate(ahead):
                if end is not None and shard.first >= end:
                    break
                self._newest = ahead[-1].last + 1
                if shard.first > at:
                    yield from self._gap(plan, at, shard)
                following = [later.name for later in ahead[place + 1 : place + 2]]
                for rows in self._rows(shard, max(at, shard.first), following):
                    for row, seq_no in enumerate(rows.seq_nos):
                        if seq_no % plan.world == plan.rank:
                            yield Found(seq_no, 1, partial(rows.sequence, row))
                at = shard.last + 1

    def close(self) -> None:
        self._folder.close()

    def _shards(self) -> list[Shard]:
        """In order of their numbers."""
        return shards_among(self._folder.shards())

    def _ahead(self, generation: int, at: int) -> list[Shard]:
        """The shards of a generation that hold `at` or later ones."""
        return [shard for shard in self._shards() if shard.generation == generation and shard.last >= at]

    def _manifest(self) -> dict[str, Any]:
        manifest: dict[str, Any] = json.loads(self._folder.manifest() or b"{}")
        return manifest

    def _ends(self, generation: int) -> list[int]:
        """Where runs of `curatord curate` ended, in order."""
        ends: list[int] = self._manifest().get("ends", {}).get(str(generation), [])
        return ends

    def _end(self, generation: int, stop_from: int) -> int | None:
        """Where to stop, as far as it is known."""
        return min((end for end in self._ends(generation) if end >= stop_from), default=None)

    def _is_over(self, generation: int, at: int) -> bool:
        """Whether the generation, whose shards all lie before `at`, grows no more."""
        self._check_newest(generation, at)
        return not self._folder.is_growing()

    def _check_newest(self, generation: int, at: int) -> None:
        """Raise `GenerationEnded` if there is a newer one than that whose shards all lie before `at`."""
        shards = self._shards()
        if shards and shards[-1].generation > generation:
            raise GenerationEnded(
                f"generation {generation} of {self._folder.name} ends with sequence {at - 1}; it goes on, with another "
                f"context length, as generation {shards[-1].generation}: make a stream with generation="
                f"{shards[-1].generation}"
            )

    def _gap(self, plan: Plan, at: int, shard: Shard) -> Iterator[Found]:
        """The gap before a shard."""
        if at == plan.first:
            raise RetentionLost(
                f"sequence {at} is not in {self._folder.name}: its shards begin with sequence {shard.first}. "
                f"Put the older ones back, or start at start={shard.first}",
                wanted=at,
                oldest=shard.first,
            )
        if not plan.fill_gaps:
            raise SequenceGap(
                f"{self._folder.name} lacks the sequences {at} to {shard.first - 1}: a shard was removed. Put it back, "
                "or train on without them with on_gap='fill'",
                expected=at,
                found=shard.first,
            )
        for seq_no in range(at + (plan.rank - at) % plan.world, shard.first, plan.world):
            yield missing(seq_no, plan.generation)

    def _rows(self, shard: Shard, at: int, following: Sequence[str]) -> Iterator[_Rows]:
        """The rows from `at` on, a row group at a time, while the shards that follow are on their way."""
        digest = int(self._manifest().get("tokenizer_digest", "0"), 16)
        path = self._folder.path(shard.name, following)
        try:
            with pq.ParquetFile(path) as file:
                metadata = file.schema_arrow.metadata
                first = shard.first
                for number in range(file.metadata.num_row_groups):
                    end = first + file.metadata.row_group(number).num_rows
                    if end > at:
                        table = file.read_row_group(number).slice(max(0, at - first)).combine_chunks()
                        yield _Rows(
                            seq_nos=table.column("seq_no").to_pylist(),
                            lists={
                                name: _flat(table.column(name))
                                for name in (*_LISTS, *(name for name in _ADDED if name in table.column_names))
                            },
                            doc_ids=table.column("doc_ids"),
                            generation=shard.generation,
                            context_length=int(metadata[b"curatord.context_length"]),
                            tokenizer_digest=digest,
                        )
                    first = end
        except (OSError, ValueError, KeyError) as error:  # what Arrow raises is among them
            raise CorruptSequence(f"the shard {shard.name} of {self._folder.name} cannot be read: {error}") from error


def _flat(column: Any) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Bounds and values of a column of lists in one chunk."""
    lists = column.chunk(0)
    return lists.offsets.to_numpy(), lists.values.to_numpy()
