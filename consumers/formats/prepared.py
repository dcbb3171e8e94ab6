"""Prepared rows: one Arrow schema in messages, in files and between processes. docs/prepared.md describes it.

Here stands what holds for every row of an input: where it came from, and who prepared it how. The columns that the
stages read are for the daemon to interpret.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec
import xxhash

from consumers.broker import MessagePlace, PreparedRow, RawDocument
from consumers.formats.arrow_sizes import record_batches
from consumers.formats.tables import MAX_UNPACKED
from curatord.errors import IdentityError, StateError, Undecodable, first_line

VERSION = 1
DOCUMENT, RETRACTION, DEAD_LETTER = range(3)  # `kind`

VERSION_KEY, IDENTITY_KEY, STUDENT_KEY = b"curatord.prepared", b"curatord.identity", b"curatord.student"
INPUT_KEY, FIRST_KEY, NEXT_KEY = b"curatord.input", b"curatord.first", b"curatord.next"
DIGEST = "prepared_with"  # the column that says it again, where an engine drops what stands in the schema


class Covers(msgspec.Struct, frozen=True):
    """The positions of one input that a message speaks for: those of its rows, and those between that have no row."""

    input: str
    first: int
    next: int


class PreparedMessage(msgspec.Struct, frozen=True):
    """A message or a part of a file."""

    rows: list[RawDocument]
    covers: Covers | None


# Columns of a stage that is off unless it is asked for: there if the identity has an entry under this name.
PASSAGES, MASK, EVALUATION_SETS = "dedup.passages", "mask", "decontaminate"


@lru_cache(maxsize=16)
def fields(identity: str) -> Any:
    """The columns of rows that were prepared so, without the metadata."""
    import pyarrow as pa

    text, number, count, raw = pa.string(), pa.int64(), pa.int32(), pa.binary()
    return pa.schema(
        [
            *(("input", text), ("position", number), ("index", count), ("kind", pa.int8())),
            *(("sent_us", number), ("traceparent", text), ("attempts", count), ("num_bytes", number)),
            *(("id", text), ("id_problem", text), ("url", text), ("source", text), ("written_us", number)),
            *(("text_key", raw), ("url_key", raw)),
            *(("quality", pa.float32()), ("language", text), ("language_score", pa.float32())),
            *(("rule_values", pa.list_(pa.float32())), ("failed_rules", raw)),
            *(("signature", raw), ("has_words", pa.bool_()), ("tokens", raw), ("tokens_upper", raw)),
            *(("text", text), ("vector", raw)),
            *(("reason", text), ("message", text), ("original", raw), ("is_truncated", pa.bool_()), ("key", text)),
            (DIGEST, text),
            *((("passages", raw), ("num_words", count)) if _has(identity, PASSAGES) else ()),
            *((("edits", text),) if _has(identity, MASK) else ()),
            *((("question", count), ("question_share", pa.float32())) if _has(identity, EVALUATION_SETS) else ()),
        ]
    )


def _has(identity: str, name: str) -> bool:
    try:
        return name in json.loads(identity)
    except ValueError:  # of another program
        return False


def encode_identity(identity: Mapping[str, str]) -> str:
    """The identity as one string, of which equality says that the rows mean the same."""
    return json.dumps(dict(identity), sort_keys=True)


@lru_cache(maxsize=16)
def digest_of(identity: str) -> str:
    """Sixteen digits for an identity."""
    return xxhash.xxh3_64_hexdigest(identity.encode())


def schema_of(identity: str, student: int = 0) -> Any:
    """The schema of rows that were prepared so, with vectors of this version of the student; 0 for none."""
    return fields(identity).with_metadata(
        {VERSION_KEY: b"%d" % VERSION, IDENTITY_KEY: identity.encode(), STUDENT_KEY: b"%d" % student}
    )


def encode_message(batch: Any, covers: Covers | None = None, *, compressed: bool = True) -> bytes:
    """A batch as an Arrow IPC stream."""
    import pyarrow as pa

    if covers is not None:
        about = {INPUT_KEY: covers.input.encode(), FIRST_KEY: b"%d" % covers.first, NEXT_KEY: b"%d" % covers.next}
        batch = batch.replace_schema_metadata({**batch.schema.metadata, **about})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=write_options(compressed=compressed)) as stream:
        stream.write_batch(batch)
    return bytes(sink.getvalue())


def write_options(*, compressed: bool) -> Any:
    """How streams are written."""
    import pyarrow as pa

    return pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1) if compressed else None)


def decode_message(
    raw: Any, identity: str, place: str, *, max_bytes: int = MAX_UNPACKED, at: MessagePlace | None = None
) -> PreparedMessage:
    """The rows of a stream, which unpacks to at most `max_bytes`. `place` is what a refusal names, `at` where it lies.

    Raises `IdentityError` if they were prepared otherwise, `StateError` if they cannot be read.
    """
    import pyarrow as pa

    rows: list[RawDocument] = []
    covers = None
    try:
        schema = None
        batches = list(record_batches(raw, max_bytes, in_all=True))
        for batch in batches:
            if schema is None:
                schema = batch.schema
                check_schema(schema, identity, place)
                covers = _covers(schema.metadata or {})
            rows += rows_of_batch(batch, identity, place, at if len(batches) == 1 else None)
        if schema is None:
            raise _damaged(place, "it holds no batch")
    except (Undecodable, pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise _damaged(place, first_line(error)) from error
    return PreparedMessage(rows, covers)


def check_schema(schema: Any, identity: str, place: str) -> None:
    """Raise `IdentityError` unless rows of this schema were prepared as they would be here."""
    metadata = schema.metadata or {}
    version = metadata.get(VERSION_KEY, b"%d" % VERSION)
    if version != b"%d" % VERSION:
        raise IdentityError(
            f"{place} was prepared in version {version.decode(errors='replace')} of the format, and version {VERSION} "
            "is read here: use one version of curatord for preparing and deciding, or prepare it anew"
        )
    if IDENTITY_KEY in metadata:
        refuse_differences(metadata[IDENTITY_KEY].decode(errors="replace"), identity, place)
    columns = fields(identity)
    # To ask for each of them takes as long as the rows of a message do.
    for name in () if schema.equals(columns) else columns.names:
        found = schema.field(name).type if name in schema.names else None
        if found != columns.field(name).type:
            kind = columns.field(name).type
            raise _damaged(place, f"column {name!r} is {found or 'missing'}, where {kind} is read")


def refuse_differences(made_with: str, identity: str, place: str) -> None:
    """Raise `IdentityError` with both values of all options that differ."""
    if made_with != identity:
        raise IdentityError(
            f"{place} was prepared with other options:\n{_differences(made_with, identity)}\nSet these options back "
            "(of another tokenizer or other rules: use the curatord that prepared it), or prepare the inputs anew"
        )


def rows_of_batch(batch: Any, identity: str, place: str, message: MessagePlace | None = None) -> list[RawDocument]:
    """A row for every row, each of which names its place in the batch.

    Raises `IdentityError` if they were prepared otherwise, `StateError` for a batch that is damaged.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        raise _damaged(place, first_line(error)) from error
    digest = digest_of(identity)
    others = batch.column(DIGEST).filter(pc.fill_null(pc.not_equal(batch.column(DIGEST), digest), True))
    if len(others):
        raise IdentityError(
            f"{place} was prepared with the options of digest {others[0].as_py()}, and here they have {digest}: set "
            "them to what they were, or prepare the inputs anew"
        )
    names = ("input", "position", "index", "sent_us", "traceparent", "attempts", "num_bytes")
    values = zip(*(batch.column(name).to_pylist() for name in names), strict=True)
    rows = []
    for at, (source, position, index, sent_us, traceparent, attempts, num_bytes) in enumerate(values):
        value = PreparedRow(batch, at, num_bytes or 0, message)
        context = (sent_us or 0, traceparent or "", attempts or 0)
        rows.append(RawDocument(source or "", position or 0, value, b"", index, "", *context))
    return rows


def batch_of_message(raw: Any, place: str, *, max_bytes: int) -> Any:
    """The one batch of a message that was read before, of any identity. Raises `StateError`."""
    import pyarrow as pa

    try:
        (batch,) = record_batches(raw, max_bytes, in_all=True)
    except (Undecodable, pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(place, first_line(error)) from error
    return batch


def _covers(metadata: Mapping[bytes, bytes]) -> Covers | None:
    if INPUT_KEY not in metadata:
        return None
    return Covers(metadata[INPUT_KEY].decode(), int(metadata[FIRST_KEY]), int(metadata[NEXT_KEY]))


def _differences(made_with: str, identity: str) -> str:
    """The options that differ, a line each."""
    try:
        before = json.loads(made_with)
    except ValueError:
        before = {}
    now = json.loads(identity)
    return "\n".join(
        f"  - {name}: it was prepared with {before.get(name)}, now it is {now.get(name)}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    )


def _damaged(place: str, why: str) -> StateError:
    return StateError(f"{place} cannot be read as prepared rows: {why}. Prepare it anew")
