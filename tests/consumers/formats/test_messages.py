"""Messages: any content becomes rows, and every row becomes a document, a retraction or a dead letter."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from consumers.formats import messages, tables
from consumers.formats.documents import decode_rows
from consumers.formats.input_config import DEFAULT_INPUT, InputConfig
from consumers.formats.messages import part_of, rows_of
from consumers.formats.undecodable import REASONS
from curatord.records import DeadLetter, Document, Retraction
from tests.arrived import Arrived, each
from tests.corpus import read_zst_jsonl

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def arrivals_of(
    value: bytes | None,
    key: bytes | None = None,
    headers: Sequence[tuple[str, bytes | None]] = (),
    timestamp_us: int = 7_000,
    max_document_bytes: int = 1 << 20,
    schema_registry: bool = False,
) -> list[Arrived]:
    config = InputConfig(max_document_bytes=max_document_bytes, schema_registry=schema_registry)
    rows = rows_of("docs-3", 42, key, value, headers, timestamp_us, config)
    assert rows
    assert {(row.source, row.position) for row in rows} == {("docs-3", 42)}
    return each(decode_rows(rows, 0, config, 1 << 10))


def ids_of(arrivals: list[Arrived]) -> list[str]:
    return [arrival.doc_id for arrival in arrivals]


def letter_of(arrivals: list[Arrived]) -> DeadLetter:
    (arrival,) = arrivals
    assert isinstance(arrival.value, DeadLetter)
    return arrival.value


def reasons_of(arrivals: list[Arrived]) -> list[str]:
    return [arrival.value.reason if isinstance(arrival.value, DeadLetter) else "" for arrival in arrivals]


def arrow(table: pa.Table, *, as_file: bool = False) -> bytes:
    sink = io.BytesIO()
    with (pa.ipc.new_file if as_file else pa.ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_one_object_is_one_document_however_it_is_printed() -> None:
    record = {"text": "a\nb", "more": [{"text": "inner"}, {}]}
    for value in (
        json.dumps(record),
        json.dumps(record) + "\n",
        "\n\n" + json.dumps(record, indent=2) + "\r\n\n",
        "\ufeff" + json.dumps(record, indent="\t"),
        '{"more": {}\n,"text":\n"a\\nb"}',
        '{\n"more":\n{"text": "inner"}\n,"text":"a\\nb"}',
    ):
        (arrival,) = arrivals_of(value.encode())
        assert isinstance(arrival.value, Document)
        assert arrival.value.text == "a\nb"
        assert arrival.doc_id == "docs-3:42"


def test_json_lines_are_many_documents_named_by_their_line() -> None:
    value = b'\xef\xbb\xbf{"text":"a"}\r\n\n  \n{"id":"x","text":"b"}\n{"text":"c"}'
    arrivals = arrivals_of(value, key=b"partition-key")
    assert ids_of(arrivals) == ["docs-3:42:0", "x", "docs-3:42:4"]


def test_a_damaged_line_costs_no_other() -> None:
    for damaged in (b'{"text": "cut', b"\xff\xfe", b"[" * 200_000, b'{"text": 1}', b"<html>"):
        for lines in ([damaged, b'{"text":"a"}'], [b'{"text":"a"}', damaged]):
            arrivals = arrivals_of(b"\n".join(lines))
            assert sorted(reasons_of(arrivals))[0] == ""
            (letter,) = (a.value for a in arrivals if isinstance(a.value, DeadLetter))
            assert letter.original == damaged[: 1 << 10]
            assert letter.index == lines.index(damaged)


def test_a_damaged_object_of_many_lines_is_one_dead_letter() -> None:
    value = json.dumps({"text": "a", "list": [{"text": "inner"}]}, indent=2).encode()[:-1]
    letter = letter_of(arrivals_of(value, key=b"k"))
    assert (letter.reason, letter.index, letter.original, letter.key) == ("not_json", None, value, "k")


@pytest.mark.parametrize("as_file", [False, True])
def test_arrow_tables_are_many_documents_named_by_their_row(as_file: bool) -> None:
    table = pa.table({"id": ["a", None, None], "text": ["x", "y", None]})
    arrivals = arrivals_of(arrow(table, as_file=as_file), key=b"partition-key")
    assert reasons_of(arrivals) == ["", "", "no_text"]
    assert ids_of(arrivals[:2]) == ["a", "docs-3:42:1"]
    assert isinstance(arrivals[2].value, DeadLetter)
    assert (arrivals[2].value.index, arrivals[2].value.truncated) == (2, True)


def test_the_key_names_a_single_document_without_id_so_that_it_can_be_retracted() -> None:
    assert ids_of(arrivals_of(b'{"text":"a"}', key=b"k")) == ["k"]
    assert ids_of(arrivals_of(b'{"id":"own","text":"a"}', key=b"k")) == ["own"]
    for useless in (None, b"", b"\xff", b"x" * 1025):
        assert ids_of(arrivals_of(b'{"text":"a"}', key=useless)) == ["docs-3:42"]
    (arrival,) = arrivals_of(None, key=b"k")
    assert arrival.value == Retraction(id="k", timestamp_us=7_000)


def test_a_retraction_without_a_usable_key_is_a_dead_letter_that_shows_the_key() -> None:
    assert reasons_of(arrivals_of(None)) == reasons_of(arrivals_of(None, key=b"")) == ["empty_message"]
    for key in (b"\xff", b"x" * 1025):
        letter = letter_of(arrivals_of(None, key=key))
        assert (letter.reason, letter.original, letter.truncated) == ("bad_field", key[: 1 << 10], True)


@pytest.mark.parametrize("value", [b"", b"\n", b" \n \n", arrow(pa.table({"text": pa.array([], pa.string())}))])
def test_a_message_that_holds_nothing_is_a_dead_letter(value: bytes) -> None:
    assert letter_of(arrivals_of(value)).reason in ("not_json", "empty_message")


def test_a_document_over_the_limit_costs_no_other() -> None:
    lines = [b'{"text":"%s"}' % (b"x" * 2000), b'{"text":"a"}']
    assert reasons_of(arrivals_of(b"\n".join(lines), max_document_bytes=1024)) == ["too_large", ""]
    table = pa.table({"text": ["x" * 2000, "a"]})
    assert reasons_of(arrivals_of(arrow(table), max_document_bytes=1024)) == ["too_large", ""]


def test_a_message_of_too_many_rows_is_one_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MAX_ROWS", 100)
    for count, expected in ((100, 100), (101, 1)):
        lines = b"\n".join([b'{"text":"a"}'] * count)
        for value in (lines, arrow(pa.table({"text": ["a"] * count}))):
            assert len(arrivals_of(value)) == expected
    letter = letter_of(arrivals_of(b'{"text":"a"}\n' * 101))
    assert (letter.reason, letter.index, letter.truncated) == ("too_large", None, True)


def test_tables_that_are_small_only_as_long_as_they_are_packed_are_one_dead_letter() -> None:
    nulls = pa.table({"text": pa.nulls(1 << 30)})
    runs = pa.table({"text": pa.RunEndEncodedArray.from_arrays(pa.array([1 << 30], pa.int32()), pa.array(["x"]))})
    dictionary = pa.table({"text": pa.DictionaryArray.from_arrays(pa.array([0] * 1000), pa.array(["x" * (1 << 20)]))})
    text = b"x" * (1 << 20)
    view = len(text).to_bytes(4, "little") + text[:4] + bytes(8)  # of all of the first buffer
    buffers = [None, pa.py_buffer(view * 1000), pa.py_buffer(text)]
    views = pa.table({"text": pa.Array.from_buffers(pa.string_view(), 1000, buffers)})
    for table, reason in (
        (nulls, "text_not_a_string"),
        (runs, "text_not_a_string"),
        (dictionary, "too_large"),
        (views, "too_large"),
    ):
        value = arrow(table)
        assert len(value) < 2 << 20
        assert reasons_of(arrivals_of(value)) == [reason]


def compressed(*tables: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, tables[0].schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        for table in tables:
            writer.write_table(table)
    return sink.getvalue()


def test_a_small_table_of_too_many_rows_is_refused_before_its_rows_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_values", None)  # what makes them
    letter = letter_of(arrivals_of(compressed(pa.table({"text": pa.array([""]).take(pa.nulls(2 << 20, pa.int8()))}))))
    assert (letter.reason, letter.index) == ("too_large", None)


def test_a_batch_that_unpacks_to_too_much_costs_no_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_UNPACKED", 100_000)
    small, large = pa.table({"text": ["a", "b"]}), pa.table({"text": ["x" * 1000] * 101})
    value = compressed(small, large)
    assert len(value) < 2000
    assert reasons_of(arrivals_of(value, max_document_bytes=2000)) == ["", "", "too_large"]
    # Nothing is lost when it is sent again: it is whole.
    assert part_of(value, 2) == value
    assert ids_of(arrivals_of(part_of(value, 1))) == ["docs-3:42:0"]


def test_trace_and_attempts_are_carried_to_the_dead_letter_and_nothing_malformed_is() -> None:
    headers: list[tuple[str, bytes | None]] = [("other", None), ("traceparent", TRACE.encode())]
    letter = letter_of(arrivals_of(b"{", headers=[*headers, ("curatord.attempts", b"2")]))
    assert (letter.traceparent, letter.attempts) == (TRACE, 2)
    for bad in (
        b"",
        None,
        b"\xff",
        TRACE.upper().encode(),
        b"ff" + TRACE[2:].encode(),
        b"00-" + b"0" * 32,
        b"x" * 10**6,
    ):
        letter = letter_of(arrivals_of(b"{", headers=[("traceparent", bad), ("curatord.attempts", bad)]))
        assert (letter.traceparent, letter.attempts) == ("", 0)


def test_a_replayed_message_has_the_time_of_the_original() -> None:
    (row,) = rows_of("s-0", 0, b"k", None, [("curatord.timestamp_us", b"5")], 9, DEFAULT_INPUT)
    assert row.value == Retraction(id="k", timestamp_us=5)
    (row,) = rows_of("s-0", 0, b"k", None, [("curatord.timestamp_us", b"x")], 9, DEFAULT_INPUT)
    assert row.timestamp_us == 9


@pytest.mark.parametrize(("given_us", "kept_us"), [(-1000, 0), (0, 0), (5, 5), (1 << 70, messages.MAX_TIMESTAMP_US)])
def test_the_time_of_a_message_fits_64_bits(given_us: int, kept_us: int) -> None:
    (row,) = rows_of("s-0", 0, b"k", None, (), given_us, DEFAULT_INPUT)
    assert row.timestamp_us == kept_us


def test_one_row_of_a_message_can_be_sent_again_by_itself() -> None:
    lines = b'{"id":"a","text":"x"}\n\n{"id":"b","text":"y"}\n'
    assert part_of(lines, 2) == b'{"id":"b","text":"y"}'
    assert part_of(lines, 99) == part_of(lines, None) == lines
    table = pa.table({"id": ["a", "b"], "text": pa.array(["x", "y"]).dictionary_encode()})
    for as_file in (False, True):
        whole = arrow(table, as_file=as_file)
        assert ids_of(arrivals_of(part_of(whole, 1))) == ["b"]
        assert part_of(whole, 2) == whole


def test_a_table_of_which_no_row_can_be_read_is_sent_again_whole() -> None:
    value = arrow(pa.table({"content": ["a", "b"]}))
    letter = letter_of(arrivals_of(value))
    assert (letter.reason, letter.index) == ("no_text", None)
    assert part_of(value, letter.index) == value


@pytest.mark.parametrize("as_file", [False, True])
def test_a_row_of_a_table_with_bad_utf8_can_be_sent_again_by_itself(as_file: bool) -> None:
    text = pa.array([b"x", b"caf\xe9", b"z"], pa.binary()).view(pa.string())
    whole = arrow(pa.table({"id": ["a", "b", "c"], "text": text}), as_file=as_file)
    assert reasons_of(arrivals_of(whole)) == ["", "not_utf8", ""]
    assert letter_of(arrivals_of(part_of(whole, 1))).reason == "not_utf8"
    (again,) = arrivals_of(part_of(whole, 2))
    assert again.value == Document(id="c", text="z")


def shapes_of(raw: bytes) -> list[bytes]:
    """Some bytes in every shape that a message may have."""
    shapes = [
        raw,
        b'{"text":' + raw + b"}",
        b'{"text":"' + raw + b'"}',
        b'{"text":"a"}\n' + raw + b'\n{"text":"b"}',
        raw + b'\n{"text":"b"}',
        b"\xff\xff\xff\xff" + raw,
        b"ARROW1\0\0" + raw,
        arrow(pa.table({"text": pa.array([raw, b"a"], pa.binary())})),
        arrow(pa.table({"text": ["a", "b"], "id": pa.array([raw, None], pa.binary())}), as_file=True),
    ]
    return shapes if len(raw) < 1 << 16 else [raw, shapes[4], shapes[7]]


def check_decided(arrivals: list[Arrived]) -> None:
    for arrival in arrivals:
        if isinstance(arrival.value, DeadLetter):
            assert arrival.value.reason in REASONS
            assert arrival.value.message
            assert len(arrival.value.original) <= 1 << 10
        elif isinstance(arrival.value, Document):
            arrival.value.text.encode()
            assert 0 < len(arrival.doc_id.encode()) <= 1024


def test_every_hostile_case_in_every_shape_ends_in_decisions(corpora: Path) -> None:
    dead = 0
    for case in read_zst_jsonl(corpora / "hostile" / "cases.jsonl.zst"):
        raw = base64.b64decode(case["b64"])
        for value in shapes_of(raw):
            arrivals = arrivals_of(value, key=raw, headers=[("traceparent", raw), ("curatord.attempts", raw)])
            check_decided(arrivals)
            dead += sum(isinstance(arrival.value, DeadLetter) for arrival in arrivals)
    assert dead > 5000


def test_the_hostile_lines_as_one_message_give_what_they_give_line_by_line(corpora: Path) -> None:
    with (corpora / "hostile" / "raw_lines.bin.zst").open("rb") as file:
        raw = zstandard.ZstdDecompressor().stream_reader(file).read()
    limit = 64 << 20
    found = {arrival.row.index: arrival.value for arrival in arrivals_of(raw, max_document_bytes=limit)}
    for index, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n")):
        if line.strip():
            ((alone),) = arrivals_of(line, max_document_bytes=limit)
            together: Any = found.pop(index)
            assert type(together) is type(alone.value)
            if isinstance(alone.value, Document):
                assert together.text == alone.value.text
    assert not found


def test_pages_in_forty_charsets_end_in_decisions(corpora: Path) -> None:
    for page in read_zst_jsonl(corpora / "hostile" / "encodings.jsonl.zst"):
        for value in shapes_of(base64.b64decode(page["b64"])):
            check_decided(arrivals_of(value))


FRAGMENTS = st.sampled_from(
    [
        b"{",
        b"}",
        b"\n",
        b'{"text":"a"}',
        b'"text"',
        b":",
        b",",
        b"[",
        b"]",
        b" ",
        b"\xff",
        b"null",
        b"\xef\xbb\xbf",
        b"1",
    ]
)


@given(
    st.one_of(st.none(), st.binary(), st.lists(FRAGMENTS, max_size=12).map(b"".join)),
    st.one_of(st.none(), st.binary(max_size=40)),
    st.lists(
        st.tuples(
            st.sampled_from(["traceparent", "curatord.attempts", "curatord.timestamp_us", "x"]), st.none() | st.binary()
        ),
        max_size=3,
    ),
    st.integers(-(1 << 63), 1 << 63),
)
def test_no_message_raises(
    value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes | None]], timestamp_us: int
) -> None:
    check_decided(arrivals_of(value, key, headers, timestamp_us))


ARROW_SAMPLES = [
    arrow(table, as_file=as_file)
    for as_file in (False, True)
    for table in (
        pa.table({"id": [1, 2], "text": ["a", "bc"], "timestamp": pa.array([1, 2], pa.timestamp("ms", "UTC"))}),
        pa.table(
            {"text": pa.array(["a", "b", "a"]).dictionary_encode(), "id": pa.array(["x", "y", "z"], pa.string_view())}
        ),
        pa.table({"text": pa.array([b"\xff", None], pa.large_binary()), "url": [[1], [2]], "source": [{"a": 1}, None]}),
    )
]


@given(st.sampled_from(ARROW_SAMPLES), st.data())
def test_no_damaged_table_raises(sample: bytes, data: st.DataObject) -> None:
    raw = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(6, len(raw) - 1))] = data.draw(st.integers(0, 255))
    value = bytes(raw[: data.draw(st.integers(8, len(raw)))])
    check_decided(arrivals_of(value))
    assert part_of(value, 1)


HEADERS_OF_REGISTRIES = [
    b"\0" + (7).to_bytes(4, "big"),
    b"\0" + (7).to_bytes(8, "big"),
    b"\1" + bytes(range(16)),
    b"\3\0" + bytes(range(16)),
]


@pytest.mark.parametrize("header", HEADERS_OF_REGISTRIES, ids=["Confluent", "Apicurio", "GUID", "Glue"])
def test_json_behind_the_header_of_a_registry_is_read_if_asked_for_and_named_if_not(header: bytes) -> None:
    one, lines = header + b'{"id":"a","text":"x"}', header + b'{"id":"a","text":"x"}\n{"id":"b","text":"y"}'
    for value in (one, lines):
        letter = letter_of(arrivals_of(value))
        assert (letter.reason, letter.original) == ("schema_registry", value)
        assert "schema_registry = true" in letter.message
    assert ids_of(arrivals_of(one, schema_registry=True)) == ["a"]
    assert ids_of(arrivals_of(one.replace(b'{"', b'\xef\xbb\xbf{"', 1), schema_registry=True)) == ["a"]
    assert ids_of(arrivals_of(lines, schema_registry=True)) == ["a", "b"]
    assert ids_of(arrivals_of(part_of(lines, 0), schema_registry=True)) == ["a"]
    assert ids_of(arrivals_of(part_of(lines, 1), schema_registry=True)) == ["b"]
    # The key has the header too; without a value it retracts.
    (retraction,) = arrivals_of(None, key=header + b'"a"', schema_registry=True)
    assert retraction.value == Retraction(id="a", timestamp_us=7_000)
    assert ids_of(arrivals_of(header + b'{"text":"x"}', key=header + b'"k"', schema_registry=True)) == ["k"]
    assert ids_of(arrivals_of(b'{"id":"a","text":"x"}', key=b"k", schema_registry=True)) == ["a"]


def test_avro_behind_the_header_of_a_registry_is_named() -> None:
    for asked_for in (False, True):
        letter = letter_of(arrivals_of(b"\0" + (7).to_bytes(4, "big") + b"\x02\x0e", schema_registry=asked_for))
        assert letter.reason == "schema_registry"
        assert "Avro or Protobuf with schema 7" in letter.message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_messages_in_wide_unicode_are_read(encoding: str) -> None:
    one = json.dumps({"id": "a", "text": "漢 \u0a0a"}, ensure_ascii=False)
    (arrival,) = arrivals_of(one.encode(encoding))
    assert isinstance(arrival.value, Document)
    assert (arrival.value.id, arrival.value.text) == ("a", "漢 \u0a0a")
    lines = (one + "\n" + '{"id":"b","text":"y"}\n').encode(encoding)
    assert ids_of(arrivals_of(lines)) == ["a", "b"]
    assert ids_of(arrivals_of(part_of(lines, 1))) == ["b"]
    arrivals_of(lines[:-1])


def test_lines_with_what_only_python_takes_for_json_are_lines() -> None:
    lines = b'{"id":"a","text":"x","n":NaN}\n{"id":"b","text":"y","n":"\\ud800"}\n'
    assert ids_of(arrivals_of(lines)) == ["a", "b"]
    assert ids_of(arrivals_of(b'{\n "id": "a",\n "text": "x",\n "n": NaN\n}\n')) == ["a"]
