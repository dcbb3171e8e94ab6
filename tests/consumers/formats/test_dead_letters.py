"""Dead letters: bounded, and readable by tools made for Kafka Streams."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.broker import RawDocument
from consumers.formats.dead_letters import MAX_MESSAGE_CHARACTERS, dead_letter, dead_letter_record, read_dead_letter
from consumers.formats.undecodable import REASONS
from curatord.errors import Undecodable
from curatord.records import DeadLetter

ERROR = Undecodable("not_json", "JSON is malformed")


def test_a_letter_carries_its_coordinates_and_the_original() -> None:
    letter = dead_letter(ERROR, RawDocument("/data/a.jsonl", 41, b"{\xff", index=2))
    assert (letter.reason, letter.message) == ("not_json", "JSON is malformed")
    assert (letter.source, letter.position, letter.index) == ("/data/a.jsonl", 41, 2)
    assert (letter.original, letter.truncated) == (b"{\xff", False)


def test_the_original_is_cut_at_the_limit_and_says_so() -> None:
    whole = dead_letter(ERROR, RawDocument("a", 0, b"x" * 100), max_bytes=100)
    cut = dead_letter(ERROR, RawDocument("a", 0, b"x" * 101), max_bytes=100)
    assert (len(whole.original), whole.truncated) == (100, False)
    assert (len(cut.original), cut.truncated) == (100, True)
    assert dead_letter(ERROR, RawDocument("a", 0, ERROR, original=b"x")).truncated
    assert dead_letter(ERROR, RawDocument("a", 0, b"x"), max_bytes=0).original == b""


def test_the_message_is_bounded() -> None:
    letter = dead_letter(Undecodable("no_text", "m" * 10_000), RawDocument("a", 0, b""))
    assert len(letter.message) == MAX_MESSAGE_CHARACTERS


def test_the_six_headers_of_kip_1034_are_there() -> None:
    letter = dead_letter(ERROR, RawDocument("my-documents-3", 99, b"", index=5))
    headers = dict(dead_letter_record(letter)[2])
    assert {name.removeprefix("__streams.errors.") for name in headers if name.startswith("__streams.")} == {
        "exception",
        "message",
        "stacktrace",
        "topic",
        "partition",
        "offset",
    }
    assert headers["__streams.errors.message"] == b"not_json: JSON is malformed"
    assert headers["__streams.errors.topic"] == b"my-documents"
    assert headers["__streams.errors.partition"] == b"3"
    assert headers["__streams.errors.offset"] == b"99"
    assert b"index=5" in headers["__streams.errors.stacktrace"]


@given(
    st.builds(
        DeadLetter,
        reason=st.sampled_from(list(REASONS)),
        message=st.text(st.characters(codec="utf-8")),
        source=st.builds("{}-{}".format, st.text("abz-._019", min_size=1), st.integers(0, 10_000)),
        position=st.integers(0, 1 << 62),
        index=st.none() | st.integers(0, 1 << 20),
        original=st.binary(max_size=50),
        truncated=st.booleans(),
        key=st.text(st.characters(codec="utf-8"), max_size=50),
        timestamp_us=st.integers(0, 1 << 62),
        traceparent=st.sampled_from(["", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]),
        attempts=st.integers(0, 5),
    )
)
def test_a_letter_can_be_read_from_its_record(letter: DeadLetter) -> None:
    assert read_dead_letter(*dead_letter_record(letter)) == letter


@given(st.data())
def test_a_record_of_others_is_no_letter(data: st.DataObject) -> None:
    key, value, headers = dead_letter_record(dead_letter(ERROR, RawDocument("t-0", 0, b"")))
    assert read_dead_letter(key, value, []) is None
    assert read_dead_letter(b"\xff", value, headers) is None
    place = data.draw(st.integers(0, len(headers) - 1))
    strange: list[tuple[str, bytes | None]] = [*headers]
    strange[place] = (headers[place][0], data.draw(st.none() | st.binary(max_size=8)))
    read_dead_letter(key, None, strange)
