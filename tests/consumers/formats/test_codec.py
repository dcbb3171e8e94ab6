"""Decoding one record: what is a document, what is not, and that nothing else ever happens."""

from __future__ import annotations

import io
import json
import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.formats.codec import decode_document
from consumers.formats.fields import MAX_ID_BYTES, MAX_NAME_BYTES, FieldNames
from consumers.formats.lenient import MAX_DEPTH
from consumers.formats.tables import decode_arrow, documents_of
from consumers.formats.undecodable import REASONS
from curatord.errors import Undecodable
from curatord.records import Document

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    # hypothesis never draws surrogates with this alphabet
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: st.lists(children) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), children),
    max_leaves=10,
)


def _reason(raw: bytes, **options: Any) -> str:
    with pytest.raises(Undecodable) as caught:
        decode_document(raw, **options)
    assert caught.value.reason in REASONS
    assert str(caught.value)
    return caught.value.reason


def _decoded(raw: bytes) -> Document | Undecodable:
    try:
        return decode_document(raw)
    except Undecodable as error:
        return error


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b'{"text":"a"} {"text":"b"}', "not_json"),
        (b'{"text":"a",}', "not_json"),
        (b"{'text':'a'}", "not_json"),
        (b'{"text":"a\x00"}', "not_json"),
        (b'{"text":"a\n"}', "not_json"),
        (b"\xef\xbb\xbf" * 1000, "not_json"),
        (b"\xef\xbb\xbf", "not_json"),
        (b'{"text":"\xff"}', "not_utf8"),
        (b'{"text":"\xed\xa0\x80"}', "not_utf8"),  # a surrogate in UTF-8's clothes
        (b"\x1f\x8b\x08\x00", "not_utf8"),
        ('{"text":"a"}'.encode("utf-16"), "not_utf8"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"12", "not_an_object"),
        (b"{}", "no_text"),
        (b'{"text":null}', "no_text"),
        (b'{"content":"a"}', "no_text"),
        (b'{"text":12}', "text_not_a_string"),
        (b'{"text":["a"]}', "text_not_a_string"),
        (b'{"text":{"a":1}}', "text_not_a_string"),
        (b'{"messages":[{"role":"user","content":"a"}]}', "chat_record"),
        (b'{"text":null,"conversations":[]}', "chat_record"),
        (b'{"instruction":"a","input":"","output":"b"}', "chat_record"),
        (b'{"prompt":"a","completion":"b"}', "chat_record"),
        (b'{"data":[{"text":"a"}]}', "no_text"),
        (b'{"text":NaN}', "text_not_a_string"),
        (b'{"text":1e999}', "text_not_a_string"),
        (b'{"text":"a","n":nan}', "not_json"),
        (b'{"text":"a","n":[1,}', "not_json"),
        (b'{"text":"a","n":NaN,}', "not_json"),
        (b'{"text":"a","n":NaN', "not_json"),
        (b'{"text":"a","n":NaN}}', "not_json"),
        (b'{"text":"a","k":"b', "not_json"),
        (b'{"text":"a\x00","n":NaN}', "not_json"),
        (b'{"text":"\\ud800"}', "lone_surrogate"),
        (b'{"text":"a \\udc00 b"}', "lone_surrogate"),
    ],
)
def test_each_unreadable_record_has_its_reason(raw: bytes, reason: str) -> None:
    assert _reason(raw) == reason


def test_fields_go_to_their_places_and_the_rest_to_the_metadata() -> None:
    raw = b'{"id":"a","text":"t","url":"u","source":"s","language":"de",'
    raw += b'"timestamp":"2024-01-31T10:00:00Z","n":[1,{"m":2}]}'
    assert decode_document(raw) == Document(
        id="a",
        text="t",
        url="u",
        source="s",
        language="de",
        timestamp_us=1_706_695_200_000_000,
        metadata={"n": [1, {"m": 2}]},
    )


def test_other_field_names_mean_the_same() -> None:
    names = FieldNames(text="content", id="key", url="", source="src", language="lang", timestamp="created")
    raw = b'{"key":7,"content":"t","url":"u","src":"s","lang":"de","created":1706695200,"text":"x","":"y"}'
    assert decode_document(raw, names) == Document(
        id="7",
        text="t",
        source="s",
        language="de",
        timestamp_us=1_706_695_200_000_000,
        metadata={"url": "u", "text": "x", "": "y"},
    )


def test_two_fields_cannot_have_one_name() -> None:
    with pytest.raises(ValueError, match="'a'"):
        FieldNames(id="a", url="a")
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"text": ""}, FieldNames)


def test_wrong_types_beside_text_and_id_never_cost_a_document() -> None:
    document = decode_document(b'{"text":"t","url":["u"],"source":{"a":1},"language":null,"timestamp":"yesterday"}')
    assert document == Document(
        id=None, text="t", metadata={"url": ["u"], "source": {"a": 1}, "language": None, "timestamp": "yesterday"}
    )


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b'{"id":"","text":""}', None),
        (b'{"id":null,"text":""}', None),
        (b'{"text":""}', None),
        (b'{"id":0,"text":""}', "0"),
        (b'{"id":-12345678901234567890123,"text":""}', "-12345678901234567890123"),
        (b'{"id":"a","id":"b","text":""}', "b"),
        (b'{"id":"a\\u0000b","text":""}', "a\x00b"),
    ],
)
def test_ids_are_strings_integers_or_none(raw: bytes, name: str | None) -> None:
    assert decode_document(raw).id == name


@pytest.mark.parametrize("letter", ["a", "é", "漢", "😀"])
def test_ids_are_bounded_in_bytes(letter: str) -> None:
    fits = letter * (MAX_ID_BYTES // len(letter.encode()))
    assert decode_document(json.dumps({"id": fits, "text": ""}).encode()).id == fits
    document = decode_document(json.dumps({"id": fits + letter, "text": "a"}).encode())
    assert (document.id, document.text) == (None, "a")
    assert "1,024 are allowed" in document.id_problem


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (b"1.5", "fractional"),
        (b"9007199254740994.0", "not exact"),
        (b"1e999", "not exact"),
        (b"true", "a boolean"),
        (b'["a"]', "a list"),
        (b"{}", "an object"),
        (b"9" * 2000, "bits"),
        (b"9" * 10_000, "not exact"),
        (b'"\\ud800"', "surrogate"),
        (b'"' + b"x" * 2_000_000 + b'"', "bytes"),
    ],
)
def test_an_id_that_cannot_be_used_costs_the_id_and_not_the_document(value: bytes, problem: str) -> None:
    document = decode_document(b'{"id":' + value + b',"text":"a"}')
    assert (document.id, document.text) == (None, "a")
    assert problem in document.id_problem


@pytest.mark.parametrize("value", [b"null", b'""', b"NaN"])
def test_no_id_is_no_problem(value: bytes) -> None:
    document = decode_document(b'{"id":' + value + b',"text":"a"}')
    assert (document.id, document.id_problem) == (None, "")


STRANGE_METADATA = [
    b"NaN",
    b"-Infinity",
    b"[1,Infinity]",
    b"1e999",
    b"9" * 10_000,
    b'"\\ud83d"',
    b'{"\\udc00":"\\ud83d"}',
    b'"\xff\xfe"',
    b'"\xed\xa0\x80"',
    b'"a\tb\x00\x1f"',
    b"[" * 200 + b"]" * 200,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b"[" + b"[]," * 350_100 + b"1]",
]


@pytest.mark.parametrize("value", STRANGE_METADATA, ids=lambda value: ascii(value[:20]))
def test_metadata_never_costs_a_document(value: bytes) -> None:
    for raw in (b'{"id":"7","n":' + value + b',"text":"a"}', b'{"text":"a","n":' + value + b',"id":"7"}'):
        document = decode_document(raw)
        assert (document.id, document.text, document.id_problem) == ("7", "a", "")
        msgspec.json.encode(document.metadata)
    key = value.strip(b'"') if value.startswith(b'"') else b"k"
    for name in ("url", "source", "language", "timestamp"):
        document = decode_document(b'{"text":"a","%s":%s,"%s":1}' % (name.encode(), value, key))
        assert document.text == "a"
        "".join((document.url, document.source, document.language)).encode()
    assert decode_document(b'\xef\xbb\xbf {"n":%s, "n" : %s ,"text":"b","text":"a"}\n' % (value, value)).text == "a"


def test_members_without_number_are_not_all_kept() -> None:
    raw = b'{"text":"a",' + b",".join(b'"%d":12345' % number for number in range(350_000)) + b',"id":"7"}'
    document = decode_document(raw)
    assert (document.id, document.text) == ("7", "a")
    assert len(document.metadata) <= 10_000


def test_dots_lead_into_objects_where_no_field_has_the_name_as_it_is() -> None:
    names = FieldNames(text="doc.body.text", id="doc.id", url="meta.url", source="a.b", timestamp="doc.when")
    raw = b'{"doc":{"id":7.0,"when":1706695200,"body":{"text":"t","x":1},"n":NaN},"meta":{"url":"u"},"a":{"b":1}}'
    document = decode_document(raw, names)
    assert (document.id, document.text, document.url, document.source) == ("7", "t", "u", "")
    assert document.timestamp_us == MOMENT_US
    assert decode_document(b'{"doc.body.text":"flat","doc":{"body":{"text":"deep"}}}', names).text == "flat"
    assert _reason(b'{"doc":{"body":null}}', fields=names) == "no_text"
    assert _reason(b'{"doc":{"body":{"text":"\\ud800"}}}', fields=names) == "lone_surrogate"
    table = pa.table({"doc": [{"id": 7.0, "body": {"text": "t"}}, None], "meta": [{"url": "u"}, {"url": None}]})
    (_, first), (_, second) = decode_arrow(_arrow_stream(table), names)
    assert isinstance(first, Document)
    assert (first.id, first.text, first.url) == ("7", "t", "u")
    assert isinstance(second, Undecodable)


@pytest.mark.parametrize("value", ["0", "2", "0.5", "1e3", "null"])
def test_a_weight_of_zero_or_more_is_read_and_none_is_nan(value: str) -> None:
    fields = FieldNames(weight="weight", scores={"edu": "score.edu"})
    document = decode_document(f'{{"text": "a", "weight": {value}, "score": {{"edu": -3.5}}}}'.encode(), fields)
    weight, score = document.numbers
    assert math.isnan(weight) if value == "null" else weight == float(value)
    assert score == -3.5


@pytest.mark.parametrize("value", ["-0.1", "NaN", "Infinity", "1e39", '"1"', "true", "[1]", "{}", "1" + "0" * 400])
def test_any_other_weight_is_a_dead_letter_that_says_so(value: str) -> None:
    fields = FieldNames(weight="weight")
    record = f'{{"text": "a", "weight": {value}}}'.encode()
    with pytest.raises(Undecodable, match=r"field 'weight' holds .*number from 0 to 3e") as raised:
        decode_document(record, fields)
    assert raised.value.reason == "bad_weight"
    assert decode_document(record).numbers == ()  # where no weight is read, none is wrong


@pytest.mark.parametrize("value", ["NaN", "1e39", '"1"', "true", "[1]", "null"])
def test_a_score_that_is_no_number_is_none_and_costs_no_document(value: str) -> None:
    (score,) = decode_document(f'{{"text": "a", "s": {value}}}'.encode(), FieldNames(scores={"edu": "s"})).numbers
    assert math.isnan(score)


@pytest.mark.parametrize("letter", ["a", "é", "漢", "😀"])
@pytest.mark.parametrize("name", ["source", "language"])
def test_a_name_that_is_too_long_is_cut_between_characters_and_costs_no_document(name: str, letter: str) -> None:
    fits = letter * (MAX_NAME_BYTES // len(letter.encode()))
    for value in (fits, fits + letter, letter * 1_000_000):
        record = {"text": "a", name: value}
        (_, as_arrow), *_ = decode_arrow(_arrow_stream(pa.Table.from_pylist([record])))
        for document in (decode_document(json.dumps(record).encode()), as_arrow):
            assert isinstance(document, Document)
            assert getattr(document, name) == fits
            assert document.metadata == {}


def test_a_byte_order_mark_before_the_record_is_skipped() -> None:
    assert decode_document(b'\xef\xbb\xbf{"text":"\xef\xbb\xbfa"}').text == "\ufeffa"


def test_the_limit_counts_bytes_of_the_record() -> None:
    raw = '{"text":"é"}'.encode()
    assert decode_document(raw, max_document_bytes=len(raw)).text == "é"
    assert _reason(raw, max_document_bytes=len(raw) - 1) == "too_large"


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_is_bounded_by_our_own_limit(opening: bytes, closing: bytes) -> None:
    def nested(depth: int) -> bytes:
        return b'{"text":"t","x":' + opening * depth + b"1" + closing * depth + b"}"

    assert "x" in decode_document(nested(MAX_DEPTH - 1)).metadata
    for depth in (MAX_DEPTH, 900, 100_000):
        assert decode_document(nested(depth)) == Document(id=None, text="t")
    assert _reason(opening * 100_000) == "too_deep"


def test_a_missing_text_field_is_answered_with_the_fields_there_are() -> None:
    with pytest.raises(Undecodable, match=r"'content', 'id'.*\[input\.fields\]"):
        decode_document(b'{"content":"a","id":1}')


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_undecodable(raw: bytes) -> None:
    for candidate in (raw, b'{"text":"' + raw + b'"}', b'{"text":"a","k":' + raw + b"}"):
        found = _decoded(candidate)
        assert isinstance(found, Document) or (found.reason in REASONS and str(found).encode())


@given(st.text(alphabet='{}[]":,\\udDcC89aA0eE+-.ntrf \n\ufeff', max_size=60))
def test_what_almost_is_json_raises_nothing_but_undecodable(text: str) -> None:
    for candidate in (text, '{"text":"a","k":"' + text + '"}', '{"text":' + text + "}"):
        found = _decoded(candidate.encode())
        assert isinstance(found, Document) or found.reason in REASONS


@given(JSON_VALUES)
def test_a_record_is_a_document_exactly_if_the_standard_library_finds_a_text(value: Any) -> None:
    raw = json.dumps(value, ensure_ascii=False).encode()
    found = _decoded(raw)
    if isinstance(value, dict) and isinstance(value.get("text"), str):
        assert not isinstance(found, Undecodable)
        assert found.text == json.loads(raw)["text"]
    else:
        assert isinstance(found, Undecodable)
        assert found.reason in {"not_an_object", "no_text", "text_not_a_string"}


@given(st.text(), st.booleans())
def test_any_text_comes_through_exactly_unless_it_holds_a_lone_surrogate(text: str, ensure_ascii: bool) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        assert _reason(json.dumps({"text": text}).encode()) == "lone_surrogate"
    else:
        raw = json.dumps({"id": text[:200], "text": text, "k": {text: text}}, ensure_ascii=ensure_ascii).encode()
        document = decode_document(raw)
        assert (document.text, document.id or "") == (text, text[:200])
        assert document.metadata == {"k": {text: text}}


MOMENT_US = 1_706_695_200_000_000  # 2024-01-31T10:00:00Z


def _arrow_stream(*tables: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
    return sink.getvalue()


def test_an_arrow_row_means_what_the_same_record_means_as_json() -> None:
    moment = datetime(2024, 1, 31, 10)
    rows: list[dict[str, Any]] = [
        {"id": "a", "text": "é\x00", "url": "u", "source": "s", "language": "fr", "timestamp": moment},
        {"id": None, "text": "", "url": None, "source": None, "language": None, "timestamp": None},
        {"id": "", "text": None, "url": None, "source": None, "language": None, "timestamp": None},
        {"id": "x" * 2000, "text": "b", "url": None, "source": None, "language": None, "timestamp": None},
    ]
    schema = pa.schema(
        [(name, pa.string()) for name in ("id", "text", "url", "source", "language")]
        + [("timestamp", pa.timestamp("ns", "Europe/Berlin"))]
    )
    rows[0]["timestamp"] = moment.replace(tzinfo=UTC)
    found = list(decode_arrow(_arrow_stream(pa.Table.from_pylist(rows, schema))))
    assert [index for index, _ in found] == [0, 1, 2, 3]
    for row, (_, value) in zip(rows, found, strict=True):
        record = {key: entry.isoformat() if key == "timestamp" and entry else entry for key, entry in row.items()}
        raw = json.dumps(record).encode()
        if isinstance(value, Document):
            expected = decode_document(raw)
            assert msgspec.structs.replace(expected, metadata={}) == value
        else:
            assert _reason(raw) == value.reason


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.binary_view(),
        pa.dictionary(pa.int32(), pa.string()),
    ],
)
def test_text_columns_of_any_kind_are_read_and_bad_utf8_costs_one_row(kind: pa.DataType) -> None:
    raw = [b"good", b"\xff\xfe", None, "漢".encode()]
    if pa.types.is_dictionary(kind):
        text = pa.array(raw, pa.binary()).view(pa.string()).dictionary_encode()
    elif pa.types.is_binary(kind) or pa.types.is_string(kind):
        text = pa.array(raw, pa.binary()).view(kind)
    elif kind in (pa.string_view(), pa.binary_view()):
        text = pa.array(raw, pa.binary_view()).view(kind)
    else:
        text = pa.array(raw, pa.large_binary()).view(kind)
    batch = pa.record_batch({"text": text, "id": pa.array([1, 2, 3, 4])})
    expected = [("1", "good"), "not_utf8", "no_text", ("4", "漢")]
    # The same in a message, and for the batch after it.
    stream = decode_arrow(_arrow_stream(*2 * [pa.Table.from_batches([batch])]))
    for values, count in ((documents_of(batch, FieldNames()), 1), ((value for _, value in stream), 2)):
        found = [(v.id, v.text) if isinstance(v, Document) else v.reason for v in values]
        assert found == expected * count


def test_arrow_texts_are_bounded_in_bytes() -> None:
    batch = pa.record_batch({"text": ["é" * 50, "é" * 51]})
    first, second = documents_of(batch, FieldNames(), max_document_bytes=100)
    assert isinstance(first, Document)
    assert isinstance(second, Undecodable)
    assert second.reason == "too_large"


def test_a_time_that_python_cannot_hold_costs_no_other_row_its_own() -> None:
    times = pa.array([1, 1 << 62, None, 2]).cast(pa.timestamp("us"))
    batch = pa.record_batch({"text": ["a", "b", "c", "d"], "timestamp": times})
    found = [value.timestamp_us for value in documents_of(batch, FieldNames()) if isinstance(value, Document)]
    assert found == [1, 0, 0, 2]


def test_an_arrow_stream_that_breaks_off_gives_what_came_before() -> None:
    table = pa.table({"text": ["a"] * 100})
    raw = _arrow_stream(table, table)
    *documents, (index, last) = decode_arrow(raw[: len(raw) - 200])
    assert len(documents) == index == 100
    assert isinstance(last, Undecodable)
    assert last.reason == "not_arrow"


def test_an_arrow_stream_without_a_text_column_says_what_it_has() -> None:
    ((_, error),) = decode_arrow(_arrow_stream(pa.table({"content": ["a"]})))
    assert isinstance(error, Undecodable)
    assert error.reason == "no_text"
    assert "'content'" in str(error)


@given(st.data())
def test_damaged_arrow_streams_raise_nothing(data: st.DataObject) -> None:
    raw = bytearray(_arrow_stream(pa.table({"id": [1, 2], "text": ["a", "bc"]})))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    for _, value in decode_arrow(bytes(raw)):
        assert isinstance(value, Document | Undecodable)
    for _, value in decode_arrow(data.draw(st.binary(max_size=100))):
        assert isinstance(value, Undecodable)
