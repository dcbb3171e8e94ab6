"""Blocks of held documents: those that were accepted together, as one fact, and shorter in the journal.

The store has their tokens. The journal names places instead where the tokens came with prepared messages: a process
that followed the journal has blocks that are still to be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernels.columns import Ragged, bounds_of
from packing.places import PLACE, Places
from packing.sampled import HELD
from state.facts import NUMBER, Codec, Facts, packed
from state.token_arrays import TokenArrays

_Columns = tuple[bytes, bytes, bytes]  # of `PLACE`


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    """Fact: documents that were accepted together."""

    doc_nos: list[int]
    ids: list[str]
    tokens: TokenArrays
    # Where the journal finds the tokens: a restart has to know what it must pin. None in states of before.
    places: tuple[tuple[str, ...], _Columns] | None = None


class _Placed(msgspec.Struct, frozen=True, array_like=True):
    """The same in the journal, where the tokens lie in prepared messages."""

    doc_nos: list[int]
    ids: list[str]
    lengths: list[int]
    sources: tuple[str, ...]
    places: _Columns


@dataclass(slots=True)
class Block:
    """The documents of a fact, which stays as it was written when some of them leave."""

    doc_nos_B: NDArray[np.int64]
    ids: Sequence[str]
    tokens: Ragged[np.unsignedinteger]
    held_B: NDArray[np.bool_]
    places: Places | None = None  # where the journal finds the tokens
    is_read: bool = True  # else `tokens` has their lengths only


_PACKED, _PLACED = packed(_Packed), packed(_Placed)
_BEGINS_PLACED = 0x90 | len(_Placed.__struct_fields__)  # as MessagePack has an array of so many


def _encode(block: Block) -> bytes:
    held = np.flatnonzero(block.held_B)
    tokens_T, lengths_B = block.tokens.values_T, block.tokens.lengths()
    if len(held) < len(lengths_B):
        tokens_T = tokens_T[np.repeat(block.held_B, lengths_B)]
    ids = [block.ids[b] for b in held.tolist()]
    packed_tokens = TokenArrays.join(tokens_T, lengths_B[held].tolist())
    places = None if block.places is None else (block.places.sources, _columns_of(block.places, held))
    return _PACKED.encode(_Packed(block.doc_nos_B[held].tolist(), ids, packed_tokens, places))


def encode_placed(block: Block, places: Places) -> bytes:
    """The block for the journal."""
    held = np.flatnonzero(block.held_B)
    ids = [block.ids[b] for b in held.tolist()]
    lengths = block.tokens.lengths()[held].tolist()
    fact = _Placed(block.doc_nos_B[held].tolist(), ids, lengths, places.sources, _columns_of(places, held))
    return _PLACED.encode(fact)


def _columns_of(places: Places, held: NDArray[np.intp]) -> _Columns:
    kept_B = places.places_B[held]
    source, offset, row = (np.ascontiguousarray(kept_B[name]).tobytes() for name in PLACE.names or ())
    return source, offset, row


def _places_of(sources: tuple[str, ...], columns: _Columns) -> Places:
    names = PLACE.names or ()
    known = {name: np.frombuffer(column, PLACE[name]) for name, column in zip(names, columns, strict=True)}
    places_B = np.zeros(len(known["row"]), PLACE)
    for name, column_B in known.items():
        places_B[name] = column_B
    return Places(sources, places_B)


def _decode(value: bytes) -> Block:
    if value[0] == _BEGINS_PLACED:
        return _decode_placed(_PLACED.decode(value))
    fact = _PACKED.decode(value)
    tokens = Ragged(fact.tokens.joined(), bounds_of(fact.tokens.lengths))
    places = fact.places and _places_of(*fact.places)
    return Block(np.array(fact.doc_nos, np.int64), fact.ids, tokens, np.ones(len(fact.ids), np.bool_), places)


def _decode_placed(fact: _Placed) -> Block:
    return Block(
        np.array(fact.doc_nos, np.int64),
        fact.ids,
        Ragged(np.zeros(0, np.uint32), bounds_of(fact.lengths)),
        np.ones(len(fact.ids), np.bool_),
        _places_of(fact.sources, fact.places),
        is_read=False,
    )


BLOCKS = Facts(HELD, NUMBER, Codec(_encode, _decode), prefix=b"d")
