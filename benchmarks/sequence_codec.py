"""PSEQ beside other ways to send a training row: bytes, encoding and decoding, on one core.

    python -m benchmarks.sequence_codec [--rows N] [--repeats N]

Rows are made by our packer from documents with log-normal lengths (median 545 tokens, mean 994); token ids fall off as
1 / rank, ids of documents are 20 to 56 bytes long, about as in the development corpora. Every format carries the same
columns and ids, and decoding ends in arrays and strings: tokens, columns, ids. What comes out is compared with what
went in. An encoder is given what its users hold: arrays as our packer makes them, lists for `msgpack lists`, int64
arrays for `pickle int64`; making those is not timed.

- `PSEQ`: docs/pseq.md. The only one with a checksum, and the only one that checks its columns against each other.
- `msgpack lists`: lists of numbers, with positions and loss mask, after prime-rl's micro-batches; without their
  log-probabilities and advantages, which only reinforcement learning has.
- `msgpack bytes`: the same columns as raw bytes: the least that a format without a specification of its own costs.
- `Arrow stream`: schema and one batch of one row, lists as columns.
- `pickle int64`: numpy arrays as trainers hold them; without positions and mask, which would more than double it.

Times are CPU times in microseconds a row: the median and the least of the repeats, all formats by turns.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curatord.sequence import MAX_U16_VOCABULARY, PackedSequence, decode_sequence, encode_sequence
from packing.packer import Packer
from packing.packing_config import PackingConfig
from state.document_numbers import numbers_from
from tests.packing.streams import Row, log_normal, pack_all

# name, tokens a row, vocabulary
SHAPES = (("4k u16", 4096, 50_257), ("4k u32", 4096, 131_072), ("32k u32", 32_768, 131_072))


class Columns(NamedTuple):
    """The common end of every decoder."""

    tokens_T: NDArray[Any]
    lengths_S: NDArray[Any]
    flags_S: NDArray[Any]
    offsets_S: NDArray[Any]
    clusters_S: NDArray[Any]
    policies_S: NDArray[Any]
    propensities_S: NDArray[Any]


NUM_COLUMNS = len(Columns._fields)
Decoded = tuple[Columns, tuple[str, ...]]  # and the ids


def columns_of(sequence: PackedSequence) -> Columns:
    """The columns as the formats name them."""
    return Columns(
        sequence.tokens_T,
        sequence.segment_lengths_S,
        sequence.segment_flags_S,
        sequence.segment_offsets_S,
        sequence.clusters_S,
        sequence.policy_versions_S,
        sequence.propensities_S,
    )


def dtypes_of(vocabulary_size: int) -> list[np.dtype[Any]]:
    """Each column's dtype: that of PSEQ."""
    tokens = "<u2" if vocabulary_size <= MAX_U16_VOCABULARY else "<u4"
    return [np.dtype(kind) for kind in (tokens, "<u4", "u1", "<u4", "<i4", "<i4", "<f4")]


class ListsRow(msgspec.Struct, array_like=True, gc=False):
    """A row as lists of numbers."""

    seq_no: int
    generation: int
    input_ids: list[int]
    position_ids: list[int]
    loss_mask: list[bool]
    seq_lens: list[int]
    flags: list[int]
    offsets: list[int]
    clusters: list[int]
    policies: list[int]
    propensities: list[float]
    doc_ids: tuple[str, ...]


class BytesRow(msgspec.Struct, array_like=True, gc=False):
    """A row as raw columns."""

    seq_no: int
    generation: int
    columns: tuple[bytes, ...]
    doc_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Codec:
    """One format. `prepare` is not timed."""

    name: str
    prepare: Callable[[PackedSequence], Any]
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    result: Callable[[Any], Decoded] = lambda decoded: decoded


def pseq(vocabulary_size: int) -> Codec:
    """Ours."""
    return Codec(
        "PSEQ",
        prepare=lambda sequence: sequence,
        encode=lambda sequence: encode_sequence(sequence, tokenizer_digest=0, vocabulary_size=vocabulary_size),
        decode=decode_sequence,
        result=lambda sequence: (columns_of(sequence), sequence.doc_ids),
    )


def msgpack_lists(vocabulary_size: int) -> Codec:
    """Numbers one by one."""
    dtypes = dtypes_of(vocabulary_size)
    decoder = msgspec.msgpack.Decoder(ListsRow)

    def prepare(sequence: PackedSequence) -> ListsRow:
        tokens, *columns = (column.tolist() for column in columns_of(sequence))
        positions = [position for length in sequence.segment_lengths_S.tolist() for position in range(length)]
        mask = [position > 0 for position in positions]
        return ListsRow(sequence.seq_no, sequence.generation, tokens, positions, mask, *columns, sequence.doc_ids)  # type: ignore[call-arg]

    def decode(record: bytes) -> Decoded:
        row = decoder.decode(record)
        lists = (row.input_ids, row.seq_lens, row.flags, row.offsets, row.clusters, row.policies, row.propensities)
        return Columns(*map(np.array, lists, dtypes)), row.doc_ids

    return Codec("msgpack lists", prepare, msgspec.msgpack.Encoder().encode, decode)


def msgpack_bytes(vocabulary_size: int) -> Codec:
    """Columns as they lie in memory."""
    dtypes = dtypes_of(vocabulary_size)
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(BytesRow)

    def encode(sequence: PackedSequence) -> bytes:
        columns = columns_of(sequence)
        raw = tuple(column.astype(dtype).tobytes() for column, dtype in zip(columns, dtypes, strict=True))
        return encoder.encode(BytesRow(sequence.seq_no, sequence.generation, raw, sequence.doc_ids))

    def decode(record: bytes) -> Decoded:
        row = decoder.decode(record)
        return Columns(*map(np.frombuffer, row.columns, dtypes)), row.doc_ids

    return Codec("msgpack bytes", lambda sequence: sequence, encode, decode)


def arrow_stream(vocabulary_size: int) -> Codec:
    """One batch of one row."""
    dtypes = dtypes_of(vocabulary_size)
    lists = [(name, pa.list_(pa.from_numpy_dtype(dtype))) for name, dtype in zip(Columns._fields, dtypes, strict=True)]
    schema = pa.schema([("seq_no", pa.int64()), ("generation", pa.int64()), *lists, ("doc_ids", pa.list_(pa.string()))])

    def one(values: pa.Array) -> pa.ListArray:
        return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)

    def encode(sequence: PackedSequence) -> bytes:
        columns = columns_of(sequence)
        arrays = [pa.array([sequence.seq_no], pa.int64()), pa.array([sequence.generation], pa.int64())]
        arrays += [one(pa.array(column.astype(dtype))) for column, dtype in zip(columns, dtypes, strict=True)]
        arrays.append(one(pa.array(sequence.doc_ids, pa.string())))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
        return sink.getvalue().to_pybytes()

    def decode(record: bytes) -> Decoded:
        with pa.ipc.open_stream(record) as reader:
            batch = reader.read_next_batch()
        columns = Columns(*(batch.column(2 + place).values.to_numpy() for place in range(NUM_COLUMNS)))
        return columns, tuple(batch.column(2 + NUM_COLUMNS).values.to_pylist())

    return Codec("Arrow stream", lambda sequence: sequence, encode, decode)


def pickle_int64(_: int) -> Codec:
    """Arrays of a trainer."""

    def prepare(sequence: PackedSequence) -> tuple[object, ...]:
        *columns, propensities = columns_of(sequence)
        wide = (*(column.astype(np.int64) for column in columns), propensities)
        return sequence.seq_no, sequence.generation, wide, sequence.doc_ids

    def decode(record: bytes) -> Decoded:
        _, _, columns, doc_ids = pickle.loads(record)
        return Columns(*columns), doc_ids

    return Codec("pickle int64", prepare, lambda held: pickle.dumps(held, pickle.HIGHEST_PROTOCOL), decode)


CODECS = (pseq, msgpack_lists, msgpack_bytes, arrow_stream, pickle_int64)


def make_rows(context_length: int, vocabulary_size: int, num_rows: int) -> list[PackedSequence]:
    """Rows as the packer gives them out."""
    stream = log_normal(num_rows * context_length // 300)
    packed = pack_all(Packer(PackingConfig(context_length=context_length, mode="best_fit"), dimension=0), stream)
    rng = np.random.default_rng(11)
    return [sequence_of(row, context_length, vocabulary_size, rng) for row in packed[:num_rows]]


def sequence_of(row: Row, context_length: int, vocabulary_size: int, rng: np.random.Generator) -> PackedSequence:
    """A row with tokens and ids drawn."""
    pieces = row.pieces
    numbers_S = numbers_from([piece.numbers for piece in pieces])
    lengths_S = np.array([piece.end - piece.start for piece in pieces], np.uint32)
    return PackedSequence(
        seq_no=row.seq_no,
        generation=row.generation,
        context_length=context_length,
        tokens_T=(vocabulary_size ** rng.random(int(lengths_S.sum()))).astype(np.uint32),
        segment_lengths_S=lengths_S,
        segment_offsets_S=np.array([piece.start for piece in pieces], np.uint32),
        segment_flags_S=np.full(len(pieces), 3, np.uint8),
        doc_ids=tuple(doc_id(piece.doc_no) for piece in pieces),
        clusters_S=numbers_S["cluster"].copy(),
        policy_versions_S=numbers_S["policy_version"].copy(),
        propensities_S=numbers_S["propensity"].copy(),
    )


def doc_id(doc_no: int) -> str:
    """A made-up id of 20 to 56 bytes, always the same for a document."""
    digest = hashlib.blake2b(b"%d" % doc_no).hexdigest()
    return f"web:{digest}"[: 20 + int(digest[:8], 16) % 37]


def check(codec: Codec, sequence: PackedSequence) -> None:
    """Raise ValueError unless the row comes out as it went in."""
    columns, doc_ids = codec.result(codec.decode(codec.encode(codec.prepare(sequence))))
    if doc_ids != sequence.doc_ids or not all(map(np.array_equal, columns, columns_of(sequence))):
        raise ValueError(f"{codec.name} does not give back what it was given")


def time_of(work: Callable[[Any], object], inputs: list[Any]) -> float:
    """CPU microseconds an input."""
    started = time.process_time()
    for value in inputs:
        work(value)
    return (time.process_time() - started) / len(inputs) * 1e6


def measure(name: str, context_length: int, vocabulary_size: int, num_rows: int, repeats: int) -> None:
    """The lines of one shape."""
    rows = make_rows(context_length, vocabulary_size, num_rows)
    codecs = [make(vocabulary_size) for make in CODECS]
    for codec, row in product(codecs, rows):
        check(codec, row)
    held = [[codec.prepare(row) for row in rows] for codec in codecs]
    records = [[codec.encode(value) for value in values] for codec, values in zip(codecs, held, strict=True)]
    encode_us: list[list[float]] = [[] for _ in codecs]
    decode_us: list[list[float]] = [[] for _ in codecs]
    for _ in range(repeats):
        for place, codec in enumerate(codecs):
            encode_us[place].append(time_of(codec.encode, held[place]))
            decode_us[place].append(time_of(codec.decode, records[place]))
    print(f"\n{name}: {len(rows)} rows, {statistics.mean(len(row.doc_ids) for row in rows):.1f} segments each\n")
    print("| format | bytes | ratio | encode µs | least | ratio | decode µs | least | ratio |")
    print("|---|" + "---:|" * 8)
    sizes = [statistics.mean(map(len, encoded)) for encoded in records]
    encode, decode = (list(map(statistics.median, timings)) for timings in (encode_us, decode_us))
    for place, codec in enumerate(codecs):
        print(
            f"| {codec.name} | {sizes[place]:,.0f} | {sizes[place] / sizes[0]:.2f} "
            f"| {encode[place]:.1f} | {min(encode_us[place]):.1f} | {encode[place] / encode[0]:.1f} "
            f"| {decode[place]:.1f} | {min(decode_us[place]):.1f} | {decode[place] / decode[0]:.1f} |",
            flush=True,
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200, help="rows of each shape")
    parser.add_argument("--repeats", type=int, default=21)
    options = parser.parse_args()
    print(f"one core; median and least of {options.repeats} repeats; ratios of medians to PSEQ")
    for shape in SHAPES:
        measure(*shape, options.rows, options.repeats)


if __name__ == "__main__":
    main()
