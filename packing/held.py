"""Held documents: id and tokens of accepted documents until their last use is emitted.

Ticks, balance buffers, pool and rows pass documents on by number; the tokens stay here. Each of them that has a
document is a holder; the document goes when the last one lets go. Documents that were accepted together share a
block: one fact, one array. A block of which little is left is copied together with others, so that a few
long-waiting documents do not pin the rest. What is counted of a document stands in columns, by its number.

Tokens that came with prepared messages are on a topic already: the journal names their places there, and the store has
them whole. A process that followed the journal reads them when it takes over. Before retention reaches a place,
`pin` has the journal hold the tokens after all.

Shape legend: H places of the columns, B documents, S uses of documents, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curatord.errors import StateError
from curatord.no_loss import Ranges
from kernels.columns import Ragged, bounds_of
from ops.readings import Gauges
from packing.held_blocks import BLOCKS, Block, encode_placed
from packing.no_loss import NO_LOSS, muted_tokens
from packing.places import Places, ReadPlaced, join_places
from packing.sampled import HELD, SAMPLED, Sampled
from state.epoch import Epoch
from state.fact_table import FactOwner, FactTable, Table
from state.facts import NUMBER, FactSource
from state.token_arrays import Tokens

# A block is rewritten when less than this share of its documents is still held.
COMPACT_BELOW = 0.25

_LEAST_PLACES = 1024

DocNos = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Held:
    """One document. `unemitted` counts the tokens of its first use that no row has taken out yet."""

    doc_id: str
    tokens: Tokens
    holders: int
    unemitted: int


_DOCUMENT = np.dtype(
    [
        ("block", "<i8"),
        ("place", "<i8"),  # in its block
        ("num_tokens", "<i8"),
        ("holders", "<i8"),
        ("unemitted", "<i8"),
        ("is_held", "<i8"),
    ]
)


class HeldDocuments(FactOwner):
    """Documents by number. `read_placed` reads those that lie in prepared messages, where there are such."""

    def __init__(self) -> None:
        self.read_placed: ReadPlaced | None = None
        self._size = 0  # places in use, whether held or not
        self._doc_nos_H = np.zeros(_LEAST_PLACES, np.int64)  # ascending
        self._documents_H = np.zeros(_LEAST_PLACES, _DOCUMENT)
        self._blocks = FactTable(BLOCKS)
        self._sampled = FactTable(SAMPLED)
        self._no_loss = FactTable(NO_LOSS)
        self._next_block = 0
        self._thinned: set[int] = set()  # blocks that documents left since the last commit

    def tables(self) -> tuple[Table, ...]:
        """The documents, what their ticks said, and which of their tokens have no loss."""
        return self._blocks, self._sampled, self._no_loss

    def __len__(self) -> int:
        return len(self._held())

    def measured(self) -> Gauges:
        """The number of documents, by metric."""
        return {"held_documents": len(self)}

    def _all(self) -> NDArray[np.void]:
        return self._documents_H[: self._size]

    def _held(self) -> NDArray[np.intp]:
        """The places of all that are held."""
        return np.flatnonzero(self._all()["is_held"])

    def has(self, doc_nos_B: DocNos) -> NDArray[np.bool_]:
        """Which of these are held."""
        has_B: NDArray[np.bool_] = np.isin(doc_nos_B, self._doc_nos_H[self._held()])
        return has_B

    def __contains__(self, doc_no: int) -> bool:
        return bool(self.has(np.array([doc_no]))[0])

    def _places(self, doc_nos_B: DocNos) -> NDArray[np.int64]:
        """Where documents stand. Raises KeyError if one is not held: another's tokens must not go out in its place."""
        places_B: NDArray[np.int64] = np.searchsorted(self._doc_nos_H[: self._size], doc_nos_B)
        found_B = self._doc_nos_H.take(places_B, mode="clip") == doc_nos_B
        if not (found_B & (self._documents_H["is_held"].take(places_B, mode="clip") != 0)).all():
            raise KeyError(f"not all of the documents {doc_nos_B} are held")
        return places_B

    def __getitem__(self, doc_no: int) -> Held:
        document = self._all()[self._places(np.array([doc_no]))[0]]
        block, place = self._blocks[int(document["block"])], int(document["place"])
        return Held(block.ids[place], block.tokens[place], int(document["holders"]), int(document["unemitted"]))

    def numbers(self) -> list[int]:
        """Numbers of all that are held."""
        numbers: list[int] = self._doc_nos_H[self._held()].tolist()
        return numbers

    def num_tokens(self, doc_nos_B: DocNos) -> NDArray[np.int64]:
        """Tokens of each."""
        num_tokens_B: NDArray[np.int64] = self._all()["num_tokens"][self._places(doc_nos_B)]
        return num_tokens_B

    def tokens(self, doc_nos_B: DocNos) -> list[Tokens]:
        """The tokens of each, as views."""
        return self.parts(doc_nos_B, np.zeros(len(doc_nos_B), np.int64), self.num_tokens(doc_nos_B))

    def parts(self, doc_nos_S: DocNos, starts_S: NDArray[np.integer], lengths_S: NDArray[np.integer]) -> list[Tokens]:
        """So many tokens of each, from its `start` on, as views."""
        documents_S = self._all()[self._places(doc_nos_S)]
        blocks = {number: self._blocks[number] for number in set(documents_S["block"].tolist())}
        parts: list[Tokens] = []
        columns = documents_S["block"].tolist(), documents_S["place"].tolist(), starts_S.tolist(), lengths_S.tolist()
        bounds = {number: block.tokens.bounds_B1.tolist() for number, block in blocks.items()}
        for number, place, start, length in zip(*columns, strict=True):
            first = bounds[number][place] + start
            parts.append(blocks[number].tokens.values_T[first : first + length])
        return parts

    def ids(self, doc_nos_S: DocNos) -> list[str]:
        """The id of each."""
        documents_S = self._all()[self._places(doc_nos_S)]
        places = zip(documents_S["block"].tolist(), documents_S["place"].tolist(), strict=True)
        return [self._blocks[number].ids[place] for number, place in places]

    def unemitted_tokens(self) -> int:
        """Tokens that were accepted and are still to be emitted for the first time."""
        return int(self._all()["unemitted"][self._held()].sum())

    def add(
        self,
        doc_nos_B: DocNos,
        ids: Sequence[str],
        tokens: Ragged[np.unsignedinteger],
        places: Places | None = None,
    ) -> None:
        """Documents that were accepted together, with higher numbers than those before; one holder each: their tick."""
        num_documents = len(doc_nos_B)
        if not num_documents:
            return
        self._reserve(num_documents)
        added = slice(self._size, self._size + num_documents)
        self._doc_nos_H[added], added_B = doc_nos_B, self._documents_H[added]
        added_B["block"], added_B["place"] = self._next_block, np.arange(num_documents)
        added_B["num_tokens"] = added_B["unemitted"] = tokens.lengths()
        added_B["holders"], added_B["is_held"] = 1, 1
        self._size += num_documents
        self._begin_block(Block(doc_nos_B, ids, tokens, np.ones(num_documents, np.bool_), places))

    def _reserve(self, num_documents: int) -> None:
        """Make room: without the documents that left, and twice as large where most are held."""
        if self._size + num_documents <= len(self._doc_nos_H):
            return
        held = self._held()
        capacity = max(len(self._doc_nos_H), 2 * (len(held) + num_documents))
        doc_nos_H, documents_H = np.zeros(capacity, np.int64), np.zeros(capacity, _DOCUMENT)
        doc_nos_H[: len(held)], documents_H[: len(held)] = self._doc_nos_H[held], self._documents_H[held]
        self._doc_nos_H, self._documents_H, self._size = doc_nos_H, documents_H, len(held)

    def _begin_block(self, block: Block) -> None:
        self._blocks[self._next_block] = block
        self._next_block += 1

    def sample(self, doc_no: int, sampled: Sampled) -> None:
        """Remember what the tick said of a document that stays."""
        self._sampled[doc_no] = sampled

    def sampled(self, doc_no: int) -> Sampled | None:
        """The result of a document's tick, if it was to be remembered."""
        return self._sampled.get(doc_no)

    def mute(self, doc_no: int, ranges_R2: Ranges) -> None:
        """These tokens of a document carry no loss, in all its uses."""
        if len(ranges_R2):
            self._no_loss[doc_no] = ranges_R2

    def muted(
        self, doc_nos_S: DocNos, starts_S: NDArray[np.int64], lengths_S: NDArray[np.int64]
    ) -> NDArray[np.bool_] | None:
        """Which tokens of parts of documents, side by side, carry no loss, (T,); None if all do."""
        return muted_tokens(self._no_loss, doc_nos_S, starts_S, lengths_S) if len(self._no_loss) else None

    def hold(self, doc_nos_S: DocNos, times_S: NDArray[np.int64]) -> None:
        """More holders."""
        np.add.at(self._all()["holders"], self._places(doc_nos_S), times_S)

    def let_go(self, doc_nos_S: DocNos) -> None:
        """One holder less, as often as a document is named; the last one takes the document with it."""
        if not len(doc_nos_S):
            return
        holders_H, places_S = self._all()["holders"], self._places(doc_nos_S)
        np.subtract.at(holders_H, places_S, 1)
        self._drop(np.unique(places_S[holders_H[places_S] == 0]))

    def emit(self, doc_nos_S: DocNos, num_tokens_S: NDArray[np.int64]) -> None:
        """So many tokens of the first use of each went out."""
        np.subtract.at(self._all()["unemitted"], self._places(doc_nos_S), num_tokens_S)

    def reject(self, doc_nos_B: DocNos) -> list[int]:
        """Documents that will not be emitted lose a holder; the tokens of each that had not been."""
        if not len(doc_nos_B):
            return []
        places_B = self._places(doc_nos_B)
        unemitted: list[int] = self._all()["unemitted"][places_B].tolist()
        self._all()["unemitted"][places_B] = 0
        self.let_go(doc_nos_B)
        return unemitted

    def drop(self, doc_no: int) -> None:
        """Remove a document from all holders."""
        self._drop(self._places(np.array([doc_no])))

    def _drop(self, places: NDArray[np.int64]) -> None:
        dropped_B = self._documents_H[places]
        self._documents_H["is_held"][places] = 0
        for number in np.unique(dropped_B["block"]).tolist():
            held_B = self._blocks[number].held_B
            held_B[dropped_B["place"][dropped_B["block"] == number]] = False
            if held_B.any():
                self._thinned.add(number)
            else:
                del self._blocks[number]
        if len(self._sampled) or len(self._no_loss):
            for doc_no in self._doc_nos_H[places].tolist():
                self._sampled.pop(doc_no, None)
                self._no_loss.pop(doc_no, None)

    def before_commit(self) -> None:
        """Gather what is left of sparse blocks into a new one."""
        blocks = [(number, self._blocks[number]) for number in sorted(self._thinned) if number in self._blocks]
        self._thinned.clear()
        sparse = [(number, block) for number, block in blocks if block.held_B.mean() < COMPACT_BELOW]
        if not sparse:
            return
        doc_nos_B = np.concatenate([block.doc_nos_B[block.held_B] for _, block in sparse])
        ids = [block.ids[b] for _, block in sparse for b in np.flatnonzero(block.held_B).tolist()]
        arrays = [block.tokens[b] for _, block in sparse for b in np.flatnonzero(block.held_B).tolist()]
        for number, _ in sparse:
            del self._blocks[number]
        places_B = self._places(doc_nos_B)
        self._documents_H["block"][places_B] = self._next_block
        self._documents_H["place"][places_B] = np.arange(len(doc_nos_B))
        tokens = Ragged(np.concatenate(arrays), bounds_of([len(array) for array in arrays]))
        places = join_places([block.places and block.places.take(block.held_B) for _, block in sparse])
        self._begin_block(Block(doc_nos_B, ids, tokens, np.ones(len(doc_nos_B), np.bool_), places))

    def shorten(self, epoch: Epoch) -> None:
        """Places go to the journal in place of tokens."""
        for row, value in epoch.facts.get(HELD.name, {}).items():
            if value is not None and row.startswith(BLOCKS.prefix):
                block = self._blocks[NUMBER.decode(row[len(BLOCKS.prefix) :])]
                if block.places is not None:
                    epoch.journalled[HELD.name][row] = encode_placed(block, block.places)

    def oldest_places(self) -> dict[str, int]:
        """The first message of each source whose tokens the journal does not hold, and which are still needed."""
        placed = [block.places.take(block.held_B) for block in self._blocks.values() if block.places is not None]
        joined = join_places(placed)
        return {} if joined is None else joined.oldest()

    def pin_unsafe(self, retained: Callable[[Sequence[str]], Mapping[str, tuple[int, int]]]) -> dict[str, int]:
        """Pin what retention reaches before long; by source how many messages lie before the first that is needed.

        `retained` says of sources which offset is the first that is there, and the first that is safe for long.
        """
        oldest = self.oldest_places()
        bounds = retained(list(oldest)) if oldest else {}
        self.pin({source: safe for source, (_, safe) in bounds.items()})
        return {source: oldest[source] - first for source, (first, _) in bounds.items()}

    def pin(self, before: Mapping[str, int]) -> None:
        """Let the journal hold the tokens that lie in messages before these offsets."""
        for number, block in self._blocks.items():
            if block.places is not None and block.places.take(block.held_B).are_before(before):
                block.places = None
                self._blocks.touch(number)

    def restored(self, committed: FactSource) -> None:
        """The documents by number again. Who holds them comes with `restore_holders`."""
        doc_nos, parts = [np.zeros(0, np.int64)], [np.zeros(0, _DOCUMENT)]
        for number, block in self._blocks.items():
            self._next_block = number + 1
            part_B = np.zeros(len(block.doc_nos_B), _DOCUMENT)
            part_B["block"], part_B["place"] = number, np.arange(len(part_B))
            part_B["num_tokens"], part_B["is_held"] = block.tokens.lengths(), 1
            doc_nos.append(block.doc_nos_B)
            parts.append(part_B)
        doc_nos_H = np.concatenate(doc_nos)
        order_H = np.argsort(doc_nos_H)
        self._doc_nos_H, self._documents_H = doc_nos_H[order_H], np.concatenate(parts)[order_H]
        self._size = len(order_H)

    def restore_holders(self, doc_nos_S: DocNos, unemitted_S: NDArray[np.int64]) -> None:
        """The holders' documents, and how many tokens of its first use each holder will emit.

        Drops documents without a holder: they left after their block was written.
        """
        self.hold(doc_nos_S, np.ones(len(doc_nos_S), np.int64))
        np.add.at(self._all()["unemitted"], self._places(doc_nos_S), unemitted_S)
        self._drop(np.flatnonzero(self._all()["holders"] == 0))
        for block in self._blocks.values():
            if not block.is_read:
                self._read(block)

    def _read(self, block: Block) -> None:
        """The tokens of the documents of a block that are held. Raises `StateError` if they are not there any more."""
        assert block.places is not None
        bounds_B1 = block.tokens.bounds_B1
        held_H = np.flatnonzero(block.held_B)
        values_T: NDArray[np.unsignedinteger] | None = None
        for source, offset, members_M in block.places.take(held_H).messages():
            if self.read_placed is None:
                raise StateError(f"tokens of held documents lie in {source}, and nothing reads it here")
            ids, tokens = self.read_placed(source, offset, block.places.places_B["row"][held_H[members_M]].astype(int))
            places_M = held_H[members_M].tolist()
            if ids != [block.ids[b] for b in places_M] or any(
                tokens.bounds_B1[i + 1] - tokens.bounds_B1[i] != bounds_B1[b + 1] - bounds_B1[b]
                for i, b in enumerate(places_M)
            ):
                raise StateError(
                    f"{source}@{offset} holds other documents than the state names there: the topic was made anew. See "
                    "docs/operating.md#places-gone"
                )
            if values_T is None:
                values_T = np.zeros(int(bounds_B1[-1]), tokens.values_T.dtype)
            for i, b in enumerate(places_M):
                values_T[bounds_B1[b] : bounds_B1[b + 1]] = tokens[i]
        assert values_T is not None
        block.tokens, block.is_read = Ragged(values_T, bounds_B1), True
