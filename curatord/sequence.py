"""PackedSequence, one training row, and PSEQ v1, its record on a topic. The format is written down in docs/pseq.md.

A row is a few whole documents side by side in at most `context_length` tokens. No padding, no mask and no positions are
stored: all follow from `segment_lengths`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
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
    header = bytearray(view[:header_bytes])
    header[_CRC_OFFSET:HEADER_BYTES] = bytes(4)
    if crc32c.crc32c(view[header_bytes:], crc32c.crc32c(bytes(header))) != checksum:
        raise CorruptSequence(f"the checksum of sequence {seq_no} does not match: the record was damaged on its way")
    sections = _sections(view, header_bytes, num_sections)
    tokens_T = _tokens(sections, num_tokens)
    columns = {tag: _column(sections, tag, dtype, num_segments) for tag, dtype in _COLUMNS.items()}
    lengths_S = columns[_LENGTHS]
    if int(lengths_S.sum(dtype=np.uint64)) != num_tokens or num_tokens > context_length:
        raise CorruptSequence(
            f"the segments of sequence {seq_no} do not add up to its {num_tokens} tokens, or these to more than the "
            f"context length {context_length}"
        )
    doc_hashes_S16 = _doc_hashes(sections, num_segments)
    return PackedSequence(
        seq_no=seq_no,
        generation=generation,
        context_length=context_length,
        tokens_T=tokens_T,
        segment_lengths_S=lengths_S,
        segment_offsets_S=columns[_OFFSETS],
        segment_flags_S=columns[_FLAGS],
        doc_ids=_doc_ids(sections, num_segments),
        clusters_S=columns[_CLUSTERS].view("<i4"),
        policy_versions_S=columns[_POLICIES].view("<i4"),
        propensities_S=columns[_PROPENSITIES],
        created_us=created_us,
        tokenizer_digest=tokenizer_digest,
        doc_hashes_S16=doc_hashes_S16,
    )


def _sections(view: memoryview, start: int, count: int) -> dict[int, tuple[int, memoryview]]:
    """Tag to (dtype, payload)."""
    found = {}
    for _ in range(count):
        if start + _SECTION.size > len(view):
            raise CorruptSequence("the record ends inside the head of a section")
        tag, dtype, _, size = _SECTION.unpack_from(view, start)
        start += _SECTION.size
        if start + size > len(view):
            raise CorruptSequence(f"the record ends inside section {tag}")
        found[tag] = (dtype, view[start : start + size])
        start += size + -size % 8
    return found


def _tokens(sections: dict[int, tuple[int, memoryview]], count: int) -> NDArray[np.uint32] | NDArray[np.uint16]:
    dtype, payload = sections.get(_TOKENS, (0, memoryview(b"")))
    if dtype not in (_U16, _U32) or len(payload) != count * _DTYPES[dtype].itemsize:
        raise CorruptSequence(f"the record does not hold its {count} tokens")
    return np.frombuffer(payload, _DTYPES[dtype])


def _column(sections: dict[int, tuple[int, memoryview]], tag: int, dtype: int, count: int) -> NDArray[Any]:
    found, payload = sections.get(tag, (0, memoryview(b"")))
    if found != dtype or len(payload) != count * _DTYPES[dtype].itemsize:
        raise CorruptSequence(f"section {tag} does not hold one value for each of {count} segments")
    return np.frombuffer(payload, _DTYPES[dtype])


def _doc_hashes(sections: dict[int, tuple[int, memoryview]], count: int) -> NDArray[np.uint8] | None:
    if _DOC_HASHES not in sections:
        return None
    payload = sections[_DOC_HASHES][1]
    if len(payload) != count * _DOC_HASH_BYTES:
        raise CorruptSequence(f"section {_DOC_HASHES} does not hold a hash for each of {count} segments")
    return np.frombuffer(payload, np.uint8).reshape(count, _DOC_HASH_BYTES)


def _doc_ids(sections: dict[int, tuple[int, memoryview]], count: int) -> tuple[str, ...]:
    if _DOC_IDS not in sections:
        return ()
    payload = sections[_DOC_IDS][1]
    if len(payload) < 4 * count:
        raise CorruptSequence("the ids of the documents are cut off")
    lengths = np.frombuffer(payload[: 4 * count], "<u4").tolist()
    if sum(lengths) != len(payload) - 4 * count:
        raise CorruptSequence("the ids of the documents do not have the lengths that they should have")
    text, start, ids = bytes(payload[4 * count :]), 0, []
    try:
        for length in lengths:
            ids.append(text[start : start + length].decode())
            start += length
    except UnicodeDecodeError as error:
        raise CorruptSequence(f"the id of a document is not UTF-8: {error}") from error
    return tuple(ids)
