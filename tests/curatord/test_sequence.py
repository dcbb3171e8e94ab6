"""PSEQ v1: what goes in comes out, old records stay readable, and no bytes break the reader."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import crc32c
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curatord.errors import CorruptSequence
from curatord.sequence import (
    HEADER_BYTES,
    EndOfStream,
    PackedSequence,
    decode_end,
    decode_sequence,
    encode_end,
    encode_sequence,
)

GOLDEN = Path(__file__).parent / "golden"


def sequence_of(lengths: list[int], *, vocabulary: int = 131_072, ids: list[str] | None = None) -> PackedSequence:
    """A sequence whose values all follow from its segments' lengths."""
    count, total = len(lengths), sum(lengths)
    return PackedSequence(
        seq_no=7 * total + count,
        generation=count,
        context_length=total + 3,
        tokens_T=(np.arange(total, dtype=np.uint32) * 40_503) % vocabulary,
        segment_lengths_S=np.array(lengths, np.uint32),
        segment_offsets_S=np.arange(count, dtype=np.uint32) * 11,
        segment_flags_S=np.arange(count).astype(np.uint8) % 8,
        doc_ids=tuple(ids if ids is not None else (f"doc-{number}" for number in range(count))),
        clusters_S=np.arange(count, dtype=np.int32) * 3,
        policy_versions_S=np.arange(count, dtype=np.int32),
        propensities_S=np.linspace(0, 1, count, dtype=np.float32),
        created_us=1_700_000_000_000_000 + total,
    )


def same(left: PackedSequence, right: PackedSequence) -> bool:
    fields = ("seq_no", "generation", "context_length", "doc_ids", "created_us")
    columns = [name for name in PackedSequence.__struct_fields__ if name.endswith(("_T", "_S"))]
    return all(getattr(left, name) == getattr(right, name) for name in fields) and all(
        np.array_equal(getattr(left, name), getattr(right, name)) for name in columns
    )


@given(
    lengths=st.lists(st.integers(1, 300), max_size=20),
    vocabulary=st.sampled_from([1000, 65_536, 65_537, 131_072]),
    names=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=20, max_size=20),
)
def test_what_goes_in_comes_out(lengths: list[int], vocabulary: int, names: list[str]) -> None:
    sequence = sequence_of(lengths, vocabulary=vocabulary, ids=names[: len(lengths)])
    record = encode_sequence(sequence, tokenizer_digest=2**63 + 5, vocabulary_size=vocabulary)

    decoded = decode_sequence(record)

    assert same(decoded, sequence)
    assert decoded.tokenizer_digest == 2**63 + 5
    assert decoded.tokens_T.itemsize == (2 if vocabulary <= 65_536 else 4)
    assert decoded.is_filler == (not lengths)


def read_by_the_page(record: bytes) -> dict[str, object]:
    """A second reader, written from docs/pseq.md alone."""
    assert record[:4] == b"PSEQ"
    version, flags, header_bytes, digest, context, tokens, segments, sections = struct.unpack_from(
        "<BBHQIIII", record, 4
    )
    seq_no, generation, created_us, body_bytes, checksum = struct.unpack_from("<QQQII", record, 32)
    assert (version, header_bytes) == (1, 64)
    assert len(record) == header_bytes + body_bytes
    assert crc32c.crc32c(record[:60] + bytes(4) + record[64:]) == checksum
    found: dict[str, object] = {
        "seq_no": seq_no, "generation": generation, "created_us": created_us, "digest": digest, "context": context,
        "filler": flags & 1,
    }  # fmt: skip
    at = header_bytes
    for _ in range(sections):
        tag, dtype, _, size = struct.unpack_from("<HBBI", record, at)
        payload = record[at + 8 : at + 8 + size]
        at += 8 + size + -size % 8
        kind = {1: "B", 2: "H", 3: "I", 5: "f"}.get(dtype)
        if kind is not None:
            found[str(tag)] = list(struct.unpack(f"<{size // struct.calcsize(kind)}{kind}", payload))
        elif tag == 13:
            lengths = struct.unpack_from(f"<{segments}I", payload)
            ends = np.cumsum(lengths).tolist()
            text = payload[4 * segments :]
            found["13"] = [text[end - length : end].decode() for end, length in zip(ends, lengths, strict=True)]
    assert at == len(record)
    assert isinstance(found["1"], list)
    assert len(found["1"]) == tokens
    return found


@pytest.mark.parametrize("lengths", [[], [1], [5, 1, 200], list(range(1, 60))])
@pytest.mark.parametrize("vocabulary", [1000, 131_072])
def test_the_page_is_enough_to_write_a_reader(lengths: list[int], vocabulary: int) -> None:
    sequence = sequence_of(lengths, vocabulary=vocabulary, ids=[f"ä-{number}" for number in range(len(lengths))])

    found = read_by_the_page(encode_sequence(sequence, tokenizer_digest=9, vocabulary_size=vocabulary))

    assert found["seq_no"] == sequence.seq_no
    assert found["filler"] == (not lengths)
    assert found["digest"] == 9
    assert found["1"] == sequence.tokens_T.tolist()
    assert found["2"] == lengths
    assert found["3"] == sequence.segment_flags_S.tolist()
    assert found["4"] == sequence.segment_offsets_S.tolist()
    assert found["8"] == sequence.clusters_S.tolist()
    assert found["10"] == sequence.propensities_S.tolist()
    assert found["13"] == list(sequence.doc_ids)


@pytest.mark.parametrize(
    ("name", "lengths", "vocabulary"), [("filler", [], 1000), ("narrow", [3, 4], 1000), ("wide", [9, 1, 30], 131_072)]
)
def test_records_written_before_stay_readable(name: str, lengths: list[int], vocabulary: int) -> None:
    sequence = sequence_of(lengths, vocabulary=vocabulary)
    record = encode_sequence(sequence, tokenizer_digest=0x1234, vocabulary_size=vocabulary)
    golden = (GOLDEN / f"{name}.pseq").read_bytes()

    assert same(decode_sequence(golden), sequence)
    assert record == golden


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.0]])
@pytest.mark.parametrize("qualities", [None, [0.25, 1.0, 0.0]])
@pytest.mark.parametrize("order", [range(10), range(9, -1, -1), [8, 9, *range(8)]])
def test_weights_and_qualities_are_there_where_they_are_told(
    weights: list[float] | None, qualities: list[float] | None, order: Sequence[int]
) -> None:
    told = {"weights_S": weights, "qualities_S": qualities}
    arrays = {name: None if values is None else np.array(values, np.float32) for name, values in told.items()}
    plain = sequence_of([3, 4, 1])
    record = encode_sequence(msgspec.structs.replace(plain, **arrays), tokenizer_digest=0, vocabulary_size=131_072)

    by_the_page = read_by_the_page(record)
    assert (by_the_page.get("11"), by_the_page.get("12")) == (weights, qualities)
    sections = sections_of(record)
    decoded = decode_sequence(with_sections(record, [sections[place] for place in order if place < len(sections)]))
    assert same(msgspec.structs.replace(decoded, weights_S=None, qualities_S=None), plain)
    for name, values in told.items():
        found = getattr(decoded, name)
        assert (found if found is None else found.tolist()) == values
    if weights is None and qualities is None:
        assert record == encode_sequence(plain, tokenizer_digest=0, vocabulary_size=131_072)


@pytest.mark.parametrize("ranges", [[], [[0, 8]], [[1, 2], [4, 7]]])
@pytest.mark.parametrize("order", [range(10), range(9, -1, -1)])
def test_ranges_without_loss_come_out_as_they_went_in(ranges: list[list[int]], order: Sequence[int]) -> None:
    plain = sequence_of([3, 4, 1])
    no_loss_R2 = np.array(ranges, np.uint32).reshape(-1, 2)
    sequence = msgspec.structs.replace(plain, no_loss_R2=no_loss_R2, qualities_S=np.zeros(3, np.float32))
    record = encode_sequence(sequence, tokenizer_digest=0, vocabulary_size=131_072)

    assert read_by_the_page(record)["14"] == no_loss_R2.reshape(-1).tolist()
    decoded = decode_sequence(with_sections(record, [sections_of(record)[place] for place in order]))
    assert decoded.no_loss_R2 is not None
    assert decoded.no_loss_R2.tolist() == ranges


@pytest.mark.parametrize("ranges", [[[2, 2]], [[0, 9]], [[0, 2], [2, 4]], [[3, 4], [0, 1]]])
def test_ranges_that_are_none_of_the_row_are_refused(ranges: list[list[int]]) -> None:
    sequence = msgspec.structs.replace(sequence_of([3, 4, 1]), no_loss_R2=np.array(ranges, np.uint32))
    with pytest.raises(CorruptSequence, match="ranges without loss"):
        decode_sequence(encode_sequence(sequence, tokenizer_digest=0, vocabulary_size=131_072))


def test_weights_beside_a_section_that_is_not_known() -> None:
    weights_S = np.array([0.5, 2.0], np.float32)
    sequence = msgspec.structs.replace(sequence_of([3, 4]), weights_S=weights_S)
    sections = sections_of(encode_sequence(sequence, tokenizer_digest=0, vocabulary_size=131_072))
    unknown = struct.pack("<HBBI", 99, 6, 0, 3) + b"abc" + bytes(5)
    record = encode_sequence(sequence, tokenizer_digest=0, vocabulary_size=131_072)
    for place in (0, 4, 8, 9):
        decoded = decode_sequence(with_sections(record, [*sections[:place], unknown, *sections[place:]]))
        assert decoded.weights_S is not None
        assert decoded.weights_S.tolist() == [0.5, 2.0]


def test_weights_of_another_number_than_the_segments_are_refused() -> None:
    sequence = msgspec.structs.replace(sequence_of([3, 4]), weights_S=np.ones(3, np.float32))
    with pytest.raises(CorruptSequence, match="does not hold what"):
        decode_sequence(encode_sequence(sequence, tokenizer_digest=0, vocabulary_size=131_072))


def test_hashes_may_stand_in_for_ids() -> None:
    sequence = msgspec.structs.replace(sequence_of([3, 4]), doc_hashes_S16=np.arange(32, dtype=np.uint8).reshape(2, 16))

    decoded = decode_sequence(encode_sequence(sequence, tokenizer_digest=0, vocabulary_size=1000))

    assert decoded.doc_ids == ()
    assert np.array_equal(decoded.doc_hashes_S16, sequence.doc_hashes_S16)


def test_decoding_copies_no_array() -> None:
    record = encode_sequence(sequence_of([300, 40]), tokenizer_digest=0, vocabulary_size=131_072)

    decoded = decode_sequence(record)

    whole = np.frombuffer(record, np.uint8)
    assert np.shares_memory(decoded.tokens_T, whole)
    assert np.shares_memory(decoded.segment_lengths_S, whole)
    assert not decoded.tokens_T.flags.writeable


def sections_of(record: bytes) -> list[bytes]:
    """The sections, each with its head and padding."""
    found, at = [], HEADER_BYTES
    while at < len(record):
        size = struct.unpack_from("<I", record, at + 4)[0]
        end = at + 8 + size + -size % 8
        found.append(record[at:end])
        at = end
    return found


def with_sections(record: bytes, sections: list[bytes]) -> bytes:
    changed = bytearray(record[:HEADER_BYTES] + b"".join(sections))
    struct.pack_into("<I", changed, 28, len(sections))
    return sealed(changed)


@given(order=st.permutations(range(8)), vocabulary=st.sampled_from([1000, 131_072]))
def test_sections_come_in_any_order(order: list[int], vocabulary: int) -> None:
    sequence = sequence_of([3, 4, 1], vocabulary=vocabulary)
    record = encode_sequence(sequence, tokenizer_digest=0, vocabulary_size=vocabulary)
    sections = sections_of(record)

    decoded = decode_sequence(with_sections(record, [sections[place] for place in order]))

    assert same(decoded, sequence)
    assert not decoded.tokens_T.flags.writeable


@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize("hashed", [False, True])
def test_a_section_that_is_missing_or_of_another_kind_is_refused(place: int, hashed: bool) -> None:
    hashes = np.arange(32, dtype=np.uint8).reshape(2, 16) if hashed else None
    sequence = msgspec.structs.replace(sequence_of([3, 4]), doc_hashes_S16=hashes)
    record = encode_sequence(sequence, tokenizer_digest=0, vocabulary_size=1000)
    sections = sections_of(record)
    tag, dtype, flags, size = struct.unpack_from("<HBBI", sections[place])
    before, payload, after = sections[:place], sections[place][8 : 8 + size], sections[place + 1 :]
    longer = struct.pack("<HBBI", tag, dtype, flags, size + 8) + payload + bytes(8 + -size % 8)
    other = struct.pack("<HBBI", tag, 4, flags, size) + payload + bytes(-size % 8)
    assert same(decode_sequence(with_sections(record, sections)), decode_sequence(record))

    for changed in ([], [longer], [other]):
        with pytest.raises(CorruptSequence):
            decode_sequence(with_sections(record, [*before, *changed, *after]))


def test_unknown_sections_are_skipped() -> None:
    record = encode_sequence(sequence_of([3, 4], vocabulary=1000), tokenizer_digest=0, vocabulary_size=1000)
    extended = bytearray(
        record[:HEADER_BYTES] + struct.pack("<HBBI", 999, 1, 0, 5) + b"hello\0\0\0" + record[HEADER_BYTES:]
    )
    struct.pack_into("<I", extended, 28, struct.unpack_from("<I", record, 28)[0] + 1)

    assert same(decode_sequence(sealed(extended)), sequence_of([3, 4], vocabulary=1000))


def sealed(record: bytearray) -> bytes:
    """The record with its length and checksum made right."""
    struct.pack_into("<I", record, 56, len(record) - HEADER_BYTES)
    struct.pack_into("<I", record, 60, 0)
    struct.pack_into("<I", record, 60, crc32c.crc32c(bytes(record)))
    return bytes(record)


@given(place=st.integers(0, 600), flip=st.integers(1, 255))
def test_a_flipped_bit_is_noticed(place: int, flip: int) -> None:
    record = bytearray(encode_sequence(sequence_of([50, 60]), tokenizer_digest=0, vocabulary_size=1000))
    record[place % len(record)] ^= flip

    with pytest.raises(CorruptSequence):
        decode_sequence(bytes(record))


@given(length=st.integers(0, 600))
def test_a_cut_record_is_noticed(length: int) -> None:
    record = encode_sequence(sequence_of([50, 60]), tokenizer_digest=0, vocabulary_size=1000)

    with pytest.raises(CorruptSequence):
        decode_sequence(record[: length % len(record)])


@given(edits=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=6))
def test_records_of_a_wrong_writer_are_read_or_refused(edits: list[tuple[int, int]]) -> None:
    record = bytearray(encode_sequence(sequence_of([50, 60]), tokenizer_digest=0, vocabulary_size=1000))
    for place, value in edits:
        record[place % len(record)] = value
    try:
        decoded = decode_sequence(sealed(record))
    except CorruptSequence:
        return
    assert sum(decoded.segment_lengths_S.tolist()) == len(decoded.tokens_T) <= decoded.context_length


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (b"JSON\x01", "begins with"),
        (b"PSEQ\x02", "version 2"),
    ],
)
def test_another_format_or_version_is_named(change: bytes, said: str) -> None:
    record = encode_sequence(sequence_of([3]), tokenizer_digest=0, vocabulary_size=1000)

    with pytest.raises(CorruptSequence, match=said):
        decode_sequence(change + record[len(change) :])


@given(generation=st.integers(0, 2**32), seq_no=st.integers(0, 2**62))
def test_the_end_of_a_stream_is_a_header_alone_that_the_page_describes(generation: int, seq_no: int) -> None:
    end = EndOfStream(generation, seq_no)
    record = encode_end(end, context_length=4096, tokenizer_digest=2**63 + 5)

    assert decode_end(record) == end
    assert len(record) == HEADER_BYTES
    fields = struct.unpack("<4sBBHQIIIIQQQII", record)
    assert fields[:-1] == (b"PSEQ", 1, 2, 64, 2**63 + 5, 4096, 0, 0, 0, seq_no, generation, 0, 0)
    assert fields[-1] == crc32c.crc32c(record[:60] + bytes(4))


@given(place=st.integers(0, HEADER_BYTES - 1), change=st.integers(1, 255), length=st.integers(0, 2 * HEADER_BYTES))
def test_a_damaged_end_is_refused_and_so_is_a_sequence(place: int, change: int, length: int) -> None:
    record = bytearray(encode_end(EndOfStream(1, 7), context_length=512, tokenizer_digest=9))
    spoiled = bytearray(record)
    spoiled[place] ^= change
    sequence = encode_sequence(sequence_of([]), tokenizer_digest=9, vocabulary_size=1000)
    for each in (bytes(spoiled), bytes(record + bytes(HEADER_BYTES))[:length], sequence):
        if each != record:
            with pytest.raises(CorruptSequence):
                decode_end(each)
    with pytest.raises(CorruptSequence):
        decode_sequence(bytes(record))
