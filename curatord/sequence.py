"""PackedSequence, one training row, and PSEQ v1, its record on a topic. The format is written down in docs/pseq.md.

A row is a few whole documents side by side in at most `context_length` tokens. No padding, no mask and no positions are
stored: all follow from `segment_lengths`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import crc32c
import numpy as np
from numpy.typing import NDArray

from curatord.errors import CorruptSequence

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

_TOKENS, _LENGTHS, _FLAGS, _OFFSETS, _CLUSTERS, _POLICIES, _PROPENSITIES = 1, 2, 3, 4, 8, 9, 10
_DOC_HASHES, _DOC_IDS = 5, 13  # one of the two; 6, 7, 11 and 12 are reserved for what docs/pseq.md says

# dtype codes of sections
_U8, _U16, _U32, _F32, _BYTES = 1, 2, 3, 5, 6  # 4 is u64
_DTYPES: dict[int, np.dtype[Any]] = {
    _U8: np.dtype("u1"),
    _U16: np.dtype("<u2"),
    _U32: np.dtype("<u4"),
    _F32: np.dtype("<f4"),
}
# The columns with one value a segment: what they must be.
_COLUMNS = {_LENGTHS: _U32, _FLAGS: _U8, _OFFSETS: _U32, _CLUSTERS: _U32, _POLICIES: _U32, _PROPENSITIES: _F32}
_DOC_HASH_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedSequence:
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
    doc_hashes_S16: NDArray[np.uint8] | None = None  # xxh3_128 of the ids, in place of ids that were too long to send

    @property
    def is_filler(self) -> bool:
        """It holds no document."""
        return not len(self.segment_lengths_S)


def encode_sequence(sequence: PackedSequence, *, tokenizer_digest: int, vocabulary_size: int) -> bytes:
    """The record. Tokens take two bytes each if the vocabulary fits."""
    narrow = vocabulary_size <= MAX_U16_VOCABULARY
    sections = [
        (_TOKENS, _U16 if narrow else _U32, sequence.tokens_T.astype("<u2" if narrow else "<u4").tobytes()),
        (_LENGTHS, _U32, sequence.segment_lengths_S.astype("<u4").tobytes()),
        (_FLAGS, _U8, sequence.segment_flags_S.tobytes()),
        (_OFFSETS, _U32, sequence.segment_offsets_S.astype("<u4").tobytes()),
        (_CLUSTERS, _U32, sequence.clusters_S.astype("<i4").tobytes()),
        (_POLICIES, _U32, sequence.policy_versions_S.astype("<i4").tobytes()),
        (_PROPENSITIES, _F32, sequence.propensities_S.astype("<f4").tobytes()),
    ]
    if sequence.doc_hashes_S16 is not None:
        sections.append((_DOC_HASHES, _BYTES, sequence.doc_hashes_S16.tobytes()))
    else:
        ids = [doc_id.encode("utf-8", "surrogatepass") for doc_id in sequence.doc_ids]
        lengths = np.array([len(value) for value in ids], "<u4").tobytes()
        sections.append((_DOC_IDS, _BYTES, lengths + b"".join(ids)))
    parts = [b""]
    for tag, dtype, payload in sections:
        parts += (_SECTION.pack(tag, dtype, 0, len(payload)), payload, bytes(-len(payload) % 8))
    body = b"".join(parts)
    header = _HEADER.pack(
        MAGIC,
        VERSION,
        FILLER if sequence.is_filler else 0,
        HEADER_BYTES,
        tokenizer_digest,
        sequence.context_length,
        len(sequence.tokens_T),
        len(sequence.segment_lengths_S),
        len(sections),
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
    if magic != MAGIC:
        raise CorruptSequence(f"the record begins with {magic!r}, not with {MAGIC!r}: it is no packed sequence")
    if version != VERSION:
        raise CorruptSequence(f"the record is PSEQ version {version}, this reader knows {VERSION}: update curatord")
    if header_bytes < HEADER_BYTES or header_bytes + body_bytes != len(view):
        raise CorruptSequence(f"the record is {len(view)} bytes long, its header says {header_bytes + body_bytes}")
    # As if the four bytes of the checksum were zero.
    if crc32c.crc32c(view[HEADER_BYTES:], crc32c.crc32c(bytes(4), crc32c.crc32c(view[:_CRC_OFFSET]))) != checksum:
        raise CorruptSequence(f"the checksum of sequence {seq_no} does not match: the record was damaged on its way")
    sections = _sections(view, header_bytes, num_sections)
    tokens_T = _tokens(view, sections, num_tokens)
    lengths_S, flags_S, offsets_S, clusters_S, policies_S, propensities_S = (
        _column(view, sections, tag, dtype, num_segments) for tag, dtype in _COLUMNS.items()
    )
    if sum(lengths_S.tolist()) != num_tokens or num_tokens > context_length:
        raise CorruptSequence(
            f"the segments of sequence {seq_no} do not add up to its {num_tokens} tokens, or these to more than the "
            f"context length {context_length}"
        )
    return PackedSequence(
        seq_no=seq_no,
        generation=generation,
        context_length=context_length,
        tokens_T=tokens_T,
        segment_lengths_S=lengths_S,
        segment_offsets_S=offsets_S,
        segment_flags_S=flags_S,
        doc_ids=_doc_ids(view, sections, num_segments),
        clusters_S=clusters_S.view("<i4"),
        policy_versions_S=policies_S.view("<i4"),
        propensities_S=propensities_S,
        created_us=created_us,
        tokenizer_digest=tokenizer_digest,
        doc_hashes_S16=_doc_hashes(view, sections, num_segments),
    )


_Sections = dict[int, tuple[int, int, int]]  # tag -> dtype, start of the payload, its size
_ABSENT = (0, 0, 0)


def _sections(view: memoryview, start: int, count: int) -> _Sections:
    found = {}
    end = len(view)
    for _ in range(count):
        if start + _SECTION.size > end:
            raise CorruptSequence("the record ends inside the head of a section")
        tag, dtype, _, size = _SECTION.unpack_from(view, start)
        start += _SECTION.size
        if start + size > end:
            raise CorruptSequence(f"the record ends inside section {tag}")
        found[tag] = (dtype, start, size)
        start += size + -size % 8
    return found


def _tokens(view: memoryview, sections: _Sections, count: int) -> NDArray[np.uint32] | NDArray[np.uint16]:
    dtype, start, size = sections.get(_TOKENS, _ABSENT)
    if dtype not in (_U16, _U32) or size != count * _DTYPES[dtype].itemsize:
        raise CorruptSequence(f"the record does not hold its {count} tokens")
    return np.frombuffer(view, _DTYPES[dtype], count, start)


def _column(view: memoryview, sections: _Sections, tag: int, dtype: int, count: int) -> NDArray[Any]:
    found, start, size = sections.get(tag, _ABSENT)
    if found != dtype or size != count * _DTYPES[dtype].itemsize:
        raise CorruptSequence(f"section {tag} does not hold one value for each of {count} segments")
    return np.frombuffer(view, _DTYPES[dtype], count, start)


def _doc_hashes(view: memoryview, sections: _Sections, count: int) -> NDArray[np.uint8] | None:
    if _DOC_HASHES not in sections:
        return None
    _, start, size = sections[_DOC_HASHES]
    if size != count * _DOC_HASH_BYTES:
        raise CorruptSequence(f"section {_DOC_HASHES} does not hold a hash for each of {count} segments")
    return np.frombuffer(view, np.uint8, size, start).reshape(count, _DOC_HASH_BYTES)


def _doc_ids(view: memoryview, sections: _Sections, count: int) -> tuple[str, ...]:
    """The ids; none if the record carries hashes in their place."""
    if _DOC_IDS not in sections:
        return ()
    _, start, size = sections[_DOC_IDS]
    if size < 4 * count:
        raise CorruptSequence("the ids of the documents are cut off")
    lengths = np.frombuffer(view, "<u4", count, start).tolist()
    joined = bytes(view[start + 4 * count : start + size])
    if sum(lengths) != len(joined):
        raise CorruptSequence("the ids of the documents do not have the lengths that they should have")
    ends = list(accumulate(lengths))
    try:
        if joined.isascii():
            text = joined.decode()
            return tuple(text[end - length : end] for end, length in zip(ends, lengths, strict=True))
        return tuple(joined[end - length : end].decode() for end, length in zip(ends, lengths, strict=True))
    except UnicodeDecodeError as error:
        raise CorruptSequence(f"the id of a document is not UTF-8: {error}") from error


@dataclass(frozen=True, slots=True)
class EndOfStream:
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
