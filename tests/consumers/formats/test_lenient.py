"""JSON as Python writes it: what the standard library finds in an object is found, and nothing else ever happens."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consumers.formats.fields import FieldNames
from consumers.formats.lenient import MAX_DEPTH, read_object

NAMES = FieldNames()
PYTHON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


def whole(value: Any) -> Any:
    """The value without half surrogate pairs."""
    if isinstance(value, str):
        return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in value)
    if isinstance(value, list):
        return [whole(inner) for inner in value]
    if isinstance(value, dict):
        return {whole(key): whole(inner) for key, inner in value.items()}
    return value


@given(
    st.dictionaries(st.text().filter(lambda key: key not in NAMES.all), PYTHON_VALUES),
    st.text(),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
)
def test_json_that_python_writes_is_read_as_the_standard_library_reads_it(
    metadata: dict[str, Any], text: str, indent: int | None, ensure_ascii: bool
) -> None:
    raw = json.dumps({**metadata, "text": text}, indent=indent, ensure_ascii=ensure_ascii)
    found = read_object(raw.encode("utf-8", "surrogatepass"), NAMES)
    assert found is not None
    if ensure_ascii or text.isascii():
        assert found.pop("text") == json.loads(raw)["text"]
        assert ensure_ascii is False or found == whole(metadata)


@given(st.binary(max_size=200) | st.text('{}[]":,\\udDcC89aA0eE+-.ntrfNI \n\x00', max_size=60).map(str.encode))
def test_no_bytes_raise_and_what_json_takes_is_taken(raw: bytes) -> None:
    for candidate in (raw, b'{"text":"a","k":' + raw + b"}", b'{"k":"' + raw + b'","text":"a"}'):
        found = read_object(candidate, NAMES)
        try:
            expected = json.loads(candidate, parse_constant=lambda name: math.inf)
        except (ValueError, RecursionError):
            continue
        assert (found is not None) == isinstance(expected, dict)


@given(st.integers(0, 300), st.sampled_from(["[]", "{}"]))
def test_a_value_is_kept_up_to_the_depth_that_is_allowed(depth: int, kind: str) -> None:
    opening, closing = ("[", "]") if kind == "[]" else ('{"a":', "}")
    found = read_object(b'{"text":"a","k":' + (opening * depth + "1" + closing * depth).encode() + b"}", NAMES)
    assert found is not None
    assert ("k" in found) == (depth < MAX_DEPTH)


def test_an_id_beside_the_text_in_an_object_keeps_its_half_surrogates() -> None:
    names = FieldNames(text="doc.body.text", id="doc.body.id")
    found = read_object(b'{"doc":{"body":{"text":"a","id":"\\ud800","title":"\\ud800"}}}', names)
    assert found == {"doc": {"body": {"text": "a", "id": "\ud800", "title": "\ufffd"}}}
