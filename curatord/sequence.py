"""PackedSequence, one training row, and PSEQ v1, its record on a topic. The format is written down in docs/pseq.md.

A row is a few whole documents side by side in at most `context_length` tokens. No padding, no mask and no positions are
stored: all follow from `segment_lengths`.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from itertools import chain
from typing import Any

import crc32c
import msgspec
import numpy as np
from numpy.typing import NDArray

from curatord.errors import CorruptSequence
from curatord.no_loss import Ranges, are_ranges

# Bits of a segment's flags.
HEAD_PRESENT = 1  # the segment starts where its document starts
TAIL_PRESENT = 2  # the segment ends where its document ends
NO_LOSS = 4  # the trainer should not learn from this segment

MAGIC = b"PSEQ"
VERSION = 1
FILLER = 1  # flag of a record: no document, only there to complete a quantum
END = 2  # flag of a record: no row, but the end of the stream
HEADER_BYTES = 64
MAX_U16_VOCABULARY = 1 << 16

# magic, version, flags, header_bytes, tokenizer_digest, context_length, num_tokens, num_segments, num_sections, seq_no,
# generation, created_us, body_bytes, crc32c
_HEADER = struct.Struct("<4sBBHQIIIIQQQII")
_CRC_OFFSET = 60
_SECTION = struct.Struct("<HBBI")  # tag, dtype, flags, nbytes

_U8, _U16, _U32, _F32, _BYTES = 1, 2, 3, 5, 6  # dtypes of sections; 4 is u64
_TOKEN_DTYPES: dict[int, np.dtype[Any]] = {_U16: np.dtype("<u2"), _U32: np.dtype("<u4")}
_ID_LENGTH_BYTES = 4
_DOC_HASH_BYTES = 16

# Sections in the order in which we write them: tokens, the columns with one value a segment, ids or hashes of ids.
_TOKENS, _DOC_IDS, _DOC_HASHES = 1, 13, 5  # tags; 6 and 7 are reserved for what docs/pseq.md says
# Behind all others, and only where there is something to say: values a segment, and ranges of tokens.
_WEIGHTS, _QUALITIES, _NO_LOSS_RANGES = 11, 12, 14
_ADDED = {_WEIGHTS: (_F32, "<f4"), _QUALITIES: (_F32, "<f4"), _NO_LOSS_RANGES: (_U32, "<u4")}
_COLUMNS = {
    "lengths": (2, _U32, "<u4"),
    "flags": (3, _U8, "u1"),
    "offsets": (4, _U32, "<u4"),
    "clusters": (8, _U32, "<i4"),
    "policies": (9, _U32, "<i4"),
    "propensities": (10, _F32, "<f4"),
}
_ORDER = (_TOKENS, *(tag for tag, _, _ in _COLUMNS.values()), _DOC_IDS, _DOC_HASHES, *_ADDED)
_NUM_SECTIONS = 8
# A body is never smaller: heads, two bytes a token, and a segment's values with the length of its id.
_LEAST_BYTES, _LEAST_TOKEN_BYTES, _LEAST_SEGMENT_BYTES = _NUM_SECTIONS * _SECTION.size, 2, 25


class PackedSequence(msgspec.Struct, frozen=True, kw_only=True, gc=False):  # no cycle can go through one
    """One row. T tokens in S segments; a segment is a document, or a piece of one longer than the context."""

    seq_no: int  # dense within a generation
    generation: int
    context_length: int  # tokens; at least T
    tokens_T: NDArray[np.uint32] | NDArray[np.uint16]
    segment_lengths_S: NDArray[np.uint32]  # tokens; their sum is T
    segment_offsets_S: NDArray[np.uint32]  # place of the segment's first token in its document
    segment_flags_S: NDArray[np.uint8]  # HEAD_PRESENT | TAIL_PRESENT | NO_LOSS
    doc_ids: tuple[str, ...]
    clusters_S: NDArray[np.int32]
    policy_versions_S: NDArray[np.int32]
    propensities_S: NDArray[np.float32]  # probability with which the document was admitted
    created_us: int = 0  # newest time of its documents, microseconds since 1970 UTC; 0 if unknown
    tokenizer_digest: int = 0  # of the tokenizer that made the tokens; 0 where it stands elsewhere
    weights_S: NDArray[np.float32] | None = None  # what the loss of a segment is multiplied by; None: 1 everywhere
    qualities_S: NDArray[np.float32] | None = None  # of its document, 0 (worst) to 1; None: not told
    doc_hashes_S16: NDArray[np.uint8] | None = None  # xxh3_128 of the ids, in place of ids that were too long to send
    no_loss_R2: Ranges | None = None  # tokens of the row that the trainer should not learn from; None: there are none

    @property
    def is_filler(self) -> bool:
        """It holds no document."""
        return not len(self.segment_lengths_S)


def encode_sequence(sequence: PackedSequence, *, tokenizer_digest: int, vocabulary_size: int) -> bytes:
    """The record. Tokens take two bytes each if the vocabulary fits."""
    token_dtype = _U16 if vocabulary_size <= MAX_U16_VOCABULARY else _U32
    tokens = _section(_TOKENS, token_dtype, sequence.tokens_T.astype(_TOKEN_DTYPES[token_dtype], copy=False).tobytes())
    layout = _layout(len(sequence.segment_lengths_S))
    block = bytearray(layout.blank)
    columns = np.ndarray((), layout.columns, block)
    columns["lengths"] = sequence.segment_lengths_S
    columns["flags"] = sequence.segment_flags_S
    columns["offsets"] = sequence.segment_offsets_S
    columns["clusters"] = sequence.clusters_S
    columns["policies"] = sequence.policy_versions_S
    columns["propensities"] = sequence.propensities_S
    if sequence.doc_hashes_S16 is not None:
        names = _section(_DOC_HASHES, _BYTES, sequence.doc_hashes_S16.tobytes())
    else:
        ids = [doc_id.encode("utf-8", "surrogatepass") for doc_id in sequence.doc_ids]
        names = _section(_DOC_IDS, _BYTES, struct.pack(f"<{len(ids)}I", *map(len, ids)) + b"".join(ids))
    told = {_WEIGHTS: sequence.weights_S, _QUALITIES: sequence.qualities_S, _NO_LOSS_RANGES: sequence.no_loss_R2}
    added = [
        _section(tag, dtype, values.astype(kind, copy=False).tobytes())
        for (tag, values), (dtype, kind) in zip(told.items(), _ADDED.values(), strict=True)
        if values is not None
    ]
    body = b"".join((*tokens, block, *names, *chain.from_iterable(added)))
    header = _HEADER.pack(
        MAGIC,
        VERSION,
        FILLER if sequence.is_filler else 0,
        HEADER_BYTES,
        tokenizer_digest,
        sequence.context_length,
        len(sequence.tokens_T),
        len(sequence.segment_lengths_S),
        _NUM_SECTIONS + len(added),
        sequence.seq_no,
        sequence.generation,
        sequence.created_us,
        len(body),
        0,
    )
    checksum = crc32c.crc32c(body, crc32c.crc32c(header))
    return header[:_CRC_OFFSET] + checksum.to_bytes(4, "little") + body


def decode_sequence(record: bytes | memoryview) -> PackedSequence:
    """The row in a record; its arrays are views of the record, and cannot be written.

    Sections that come in another order than ours, or with some that we do not know, are copied first.

    Raises `CorruptSequence` if the record is damaged, cut off, or of a version that this program does not know.
    """
    view = memoryview(record).toreadonly()
    if len(view) < HEADER_BYTES:
        raise CorruptSequence(f"the record is {len(view)} bytes long, its header alone is {HEADER_BYTES}")
    (
        magic,
        version,
        _,
        header_bytes,
        tokenizer_digest,
        context_length,
        num_tokens,
        num_segments,
        num_sections,
        seq_no,
        generation,
        created_us,
        body_bytes,
        checksum,
    ) = _HEADER.unpack_from(view)
    _check_header(view, magic, version, header_bytes, body_bytes, seq_no, checksum)
    found = _read(view, header_bytes, num_sections, num_tokens, num_segments)
    if found is None:
        raise CorruptSequence(
            f"sequence {seq_no} lacks a section, or one does not hold what {num_tokens} tokens in {num_segments} "
            "segments need"
        )
    body, added = found
    columns, lengths_S = body.columns, body.columns["lengths"]
    if sum(lengths_S.tolist()) != num_tokens or num_tokens > context_length:
        raise CorruptSequence(
            f"the segments of sequence {seq_no} do not add up to its {num_tokens} tokens, or these to more than the "
            f"context length {context_length}"
        )
    return PackedSequence(
        seq_no=seq_no,
        generation=generation,
        context_length=context_length,
        tokens_T=body.tokens_T,
        segment_lengths_S=lengths_S,
        segment_offsets_S=columns["offsets"],
        segment_flags_S=columns["flags"],
        doc_ids=_doc_ids(body.names, num_segments) if body.names_tag == _DOC_IDS else (),
        clusters_S=columns["clusters"],
        policy_versions_S=columns["policies"],
        propensities_S=columns["propensities"],
        created_us=created_us,
        tokenizer_digest=tokenizer_digest,
        weights_S=added.get(_WEIGHTS),
        qualities_S=added.get(_QUALITIES),
        doc_hashes_S16=_doc_hashes(body.names, num_segments) if body.names_tag == _DOC_HASHES else None,
        no_loss_R2=_no_loss(added.get(_NO_LOSS_RANGES), num_tokens),
    )


def _check_header(
    view: memoryview, magic: bytes, version: int, header_bytes: int, body_bytes: int, seq_no: int, checksum: int
) -> None:
    """Raise `CorruptSequence` if the record is none of this version, or not as it was written."""
    if magic != MAGIC:
        raise CorruptSequence(f"the record begins with {magic!r}, not with {MAGIC!r}: it is no packed sequence")
    if version != VERSION:
        raise CorruptSequence(f"the record is PSEQ version {version}, this reader knows {VERSION}: update curatord")
    if header_bytes < HEADER_BYTES or header_bytes + body_bytes != len(view):
        raise CorruptSequence(f"the record is {len(view)} bytes long, its header says {header_bytes + body_bytes}")
    # As if the four bytes of the checksum were zero.
    if crc32c.crc32c(view[HEADER_BYTES:], crc32c.crc32c(bytes(4), crc32c.crc32c(view[:_CRC_OFFSET]))) != checksum:
        raise CorruptSequence(f"the checksum of sequence {seq_no} does not match: the record was damaged on its way")


class _Layout(msgspec.Struct, frozen=True):
    """The columns of S segments with their heads and padding, as one block."""

    columns: np.dtype[np.void]  # of the block; a field for each column
    heads: struct.Struct  # picks the heads out of a block
    expected: tuple[bytes, ...]  # what they must be
    blank: bytes  # a block with its heads, and zeros for the values


@lru_cache(maxsize=512)  # rows of one length differ by a few hundred segments at most
def _layout(num_segments: int) -> _Layout:
    formats, offsets, heads = [], [], []
    picker, size = "<", 0
    for tag, code, kind in _COLUMNS.values():
        nbytes = num_segments * np.dtype(kind).itemsize
        heads.append(_SECTION.pack(tag, code, 0, nbytes))
        formats.append((kind, (num_segments,)))
        offsets.append(size + _SECTION.size)
        padded = nbytes + -nbytes % 8
        picker += f"{_SECTION.size}s{padded}x"
        size += _SECTION.size + padded
    columns = np.dtype({"names": [*_COLUMNS], "formats": formats, "offsets": offsets, "itemsize": size})
    packer = struct.Struct(picker)
    return _Layout(columns, packer, tuple(heads), packer.pack(*heads))


def _section(tag: int, dtype: int, payload: bytes | memoryview) -> tuple[bytes, bytes | memoryview, bytes]:
    """Head, payload and padding."""
    return _SECTION.pack(tag, dtype, 0, len(payload)), payload, bytes(-len(payload) % 8)


def _read(
    view: memoryview, start: int, num_sections: int, num_tokens: int, num_segments: int
) -> tuple[_Body, dict[int, NDArray[Any]]] | None:
    """The sections that every record has, and the others by tag; None if one lacks or does not hold what it should."""
    body = _body(view, start, num_tokens, num_segments) if num_sections >= _NUM_SECTIONS else None
    if body is None or (num_sections > _NUM_SECTIONS and not _ends_with_ours(view, body.end, num_sections)):
        view = _rearranged(view, start, num_sections)
        body = _body(view, 0, num_tokens, num_segments)
    added = None if body is None else _added(view, body.end, num_segments)
    return None if body is None or added is None else (body, added)


class _Body(msgspec.Struct, frozen=True, gc=False):
    """The sections of a record."""

    tokens_T: NDArray[Any]
    columns: NDArray[np.void]
    names_tag: int  # _DOC_IDS or _DOC_HASHES
    names: memoryview
    end: int  # where the section behind it begins


def _body(view: memoryview, start: int, num_tokens: int, num_segments: int) -> _Body | None:
    """The sections from `start` on; None if they are not those that we write, in our order."""
    least = _LEAST_BYTES + num_tokens * _LEAST_TOKEN_BYTES + num_segments * _LEAST_SEGMENT_BYTES
    if len(view) - start < least:
        return None
    tag, dtype, _, nbytes = _SECTION.unpack_from(view, start)
    token = _TOKEN_DTYPES.get(dtype)
    if tag != _TOKENS or token is None or nbytes != num_tokens * token.itemsize:
        return None
    layout = _layout(num_segments)
    columns_at = start + _SECTION.size + nbytes + -nbytes % 8
    names_at = columns_at + len(layout.blank)
    if names_at + _SECTION.size > len(view) or layout.heads.unpack_from(view, columns_at) != layout.expected:
        return None
    tag, dtype, _, nbytes = _SECTION.unpack_from(view, names_at)
    names = view[names_at + _SECTION.size : names_at + _SECTION.size + nbytes]
    if tag not in (_DOC_IDS, _DOC_HASHES) or dtype != _BYTES or len(names) != nbytes:
        return None
    tokens_T: NDArray[Any] = np.frombuffer(view, token, num_tokens, start + _SECTION.size)
    end = names_at + _SECTION.size + nbytes + -nbytes % 8
    return _Body(tokens_T, np.ndarray((), layout.columns, view, columns_at), tag, names, end)


def _ends_with_ours(view: memoryview, start: int, num_sections: int) -> bool:
    """Whether no section but those that we add follows those that every record has."""
    for _ in range(num_sections - _NUM_SECTIONS):
        if start + _SECTION.size > len(view):
            return False
        tag, _, _, nbytes = _SECTION.unpack_from(view, start)
        if tag not in _ADDED:
            return False
        start += _SECTION.size + nbytes + -nbytes % 8
    return start == len(view)


def _added(view: memoryview, start: int, num_segments: int) -> dict[int, NDArray[Any]] | None:
    """The sections from `start` to the end, by tag; None if one holds neither a number a segment nor whole ranges."""
    found: dict[int, NDArray[Any]] = {}
    while start < len(view):
        tag, dtype, _, nbytes = _SECTION.unpack_from(view, start)
        wanted, kind = _ADDED[tag]
        fits = nbytes % 8 == 0 if tag == _NO_LOSS_RANGES else nbytes == 4 * num_segments
        start += _SECTION.size
        if dtype != wanted or not fits or start + nbytes > len(view):
            return None
        found[tag] = np.frombuffer(view, kind, nbytes // 4, start)
        start += nbytes + -nbytes % 8
    return found


def _no_loss(bounds: NDArray[Any] | None, num_tokens: int) -> Ranges | None:
    """The ranges of a section. Raises `CorruptSequence` if they are none of so many tokens."""
    ranges_R2 = None if bounds is None else bounds.reshape(-1, 2)
    if ranges_R2 is not None and not are_ranges(ranges_R2, num_tokens):
        raise CorruptSequence(
            f"section {_NO_LOSS_RANGES} holds ranges without loss that are none of {num_tokens} tokens"
        )
    return ranges_R2


def _rearranged(view: memoryview, start: int, count: int) -> memoryview:
    """A copy of the sections that we know, in our order."""
    found = {}
    for _ in range(count):
        if start + _SECTION.size > len(view):
            raise CorruptSequence("the record ends inside the head of a section")
        tag, dtype, _, nbytes = _SECTION.unpack_from(view, start)
        start += _SECTION.size
        if start + nbytes > len(view):
            raise CorruptSequence(f"the record ends inside section {tag}")
        found[tag] = _section(tag, dtype, view[start : start + nbytes])
        start += nbytes + -nbytes % 8
    return memoryview(b"".join(chain.from_iterable(found[tag] for tag in _ORDER if tag in found)))


def _doc_hashes(names: memoryview, count: int) -> NDArray[np.uint8]:
    if len(names) != count * _DOC_HASH_BYTES:
        raise CorruptSequence(f"section {_DOC_HASHES} does not hold a hash for each of {count} segments")
    return np.frombuffer(names, np.uint8).reshape(count, _DOC_HASH_BYTES)


def _doc_ids(names: memoryview, count: int) -> tuple[str, ...]:
    if len(names) < count * _ID_LENGTH_BYTES:
        raise CorruptSequence("the ids of the documents are cut off")
    lengths = struct.unpack_from(f"<{count}I", names)
    joined = bytes(names[count * _ID_LENGTH_BYTES :])
    if sum(lengths) != len(joined):
        raise CorruptSequence("the ids of the documents do not have the lengths that they should have")
    ids, start = [], 0
    try:
        # Where a byte is a character, one decoding does for all.
        text = joined.decode() if joined.isascii() else None
        for length in lengths:
            end = start + length
            ids.append(joined[start:end].decode() if text is None else text[start:end])
            start = end
    except UnicodeDecodeError as error:
        raise CorruptSequence(f"the id of a document is not UTF-8: {error}") from error
    return tuple(ids)


class EndOfStream(msgspec.Struct, frozen=True):
    """The marker that ends a stream, on every partition of it."""

    generation: int
    seq_no: int  # that the next sequence would have; all before it are there


def encode_end(end: EndOfStream, *, context_length: int, tokenizer_digest: int) -> bytes:
    """The record: a header alone."""
    nothing = (0, 0, 0)  # tokens, segments, sections
    place = (end.seq_no, end.generation)
    header = _HEADER.pack(
        MAGIC, VERSION, END, HEADER_BYTES, tokenizer_digest, context_length, *nothing, *place, 0, 0, 0
    )
    return header[:_CRC_OFFSET] + crc32c.crc32c(header).to_bytes(4, "little")


def decode_end(record: bytes | memoryview) -> EndOfStream:
    """The marker in a record. Raises `CorruptSequence` if it is damaged, or none."""
    view = memoryview(record).toreadonly()
    if len(view) < HEADER_BYTES:
        raise CorruptSequence(f"the record is {len(view)} bytes long, its header alone is {HEADER_BYTES}")
    magic, version, flags, header_bytes, *_, seq_no, generation, _, body_bytes, checksum = _HEADER.unpack_from(view)
    if (magic, version) != (MAGIC, VERSION) or not flags & END or header_bytes + body_bytes != len(view):
        raise CorruptSequence(f"the record is no end of a stream: {bytes(view[:HEADER_BYTES]).hex()}")
    if crc32c.crc32c(view[HEADER_BYTES:], crc32c.crc32c(bytes(4), crc32c.crc32c(view[:_CRC_OFFSET]))) != checksum:
        raise CorruptSequence(f"the checksum of the end before sequence {seq_no} does not match")
    return EndOfStream(generation, seq_no)
