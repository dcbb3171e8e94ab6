"""Headers of schema registries are told from JSON, and from formats that are not read."""

from __future__ import annotations

import pytest

from consumers.formats.framing import json_behind_header, why_framed

JSON = b' {"text": "a"}'


@pytest.mark.parametrize(
    ("header", "registry"),
    [
        (b"\0" + bytes(4), "Confluent"),
        (b"\0" + bytes(8), "Apicurio"),
        (b"\1" + bytes(range(16)), "Confluent"),
        (b"\3\0" + bytes(range(16)), "AWS Glue"),
    ],
)
def test_json_behind_a_header_is_found_and_the_registry_named(header: bytes, registry: str) -> None:
    assert json_behind_header(header + JSON) == JSON
    problem = why_framed(header + JSON)
    assert problem is not None
    assert f"the {len(header)} bytes of {registry}'s serializer" in str(problem)


def test_avro_is_named_with_its_schema() -> None:
    problem = why_framed(b"\0\0\0\0\x2a\x08avro!!")
    assert json_behind_header(b"\0\0\0\0\x2a\x08avro!!") is None
    assert problem is not None
    assert "schema 42" in str(problem)


@pytest.mark.parametrize(
    "value", [b"", JSON, b"\0", '{"text": "a"}'.encode("utf-16-be"), '{"a": 1}'.encode("utf-32-be")]
)
def test_other_messages_have_no_header(value: bytes) -> None:
    assert (json_behind_header(value), why_framed(value)) == (None, None)
