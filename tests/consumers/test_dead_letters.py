"""Dead letters: bounded, and readable by tools made for Kafka Streams."""

from __future__ import annotations

from consumers.dead_letters import MAX_MESSAGE_CHARACTERS, dead_letter, error_headers
from curatord.errors import Undecodable

ERROR = Undecodable("not_json", "JSON is malformed")


def test_a_letter_carries_its_coordinates_and_the_original() -> None:
    letter = dead_letter(ERROR, source="/data/a.jsonl", position=41, index=2, original=b"{\xff")
    assert (letter.reason, letter.message) == ("not_json", "JSON is malformed")
    assert (letter.source, letter.position, letter.index) == ("/data/a.jsonl", 41, 2)
    assert (letter.original, letter.truncated) == (b"{\xff", False)


def test_the_original_is_cut_at_the_limit_and_says_so() -> None:
    whole = dead_letter(ERROR, source="a", position=0, original=b"x" * 100, max_bytes=100)
    cut = dead_letter(ERROR, source="a", position=0, original=b"x" * 101, max_bytes=100)
    assert (len(whole.original), whole.truncated) == (100, False)
    assert (len(cut.original), cut.truncated) == (100, True)
    assert dead_letter(ERROR, source="a", position=0, original=b"x", cut=True).truncated
    assert dead_letter(ERROR, source="a", position=0, original=b"x", max_bytes=0).original == b""


def test_the_message_is_bounded() -> None:
    letter = dead_letter(Undecodable("no_text", "m" * 10_000), source="a", position=0)
    assert len(letter.message) == MAX_MESSAGE_CHARACTERS


def test_the_six_headers_of_kip_1034_are_there() -> None:
    letter = dead_letter(ERROR, source="documents:3", position=99, index=5)
    headers = dict(error_headers(letter, topic="documents", partition=3))
    assert set(headers) == {
        f"__streams.errors.{name}" for name in ("exception", "message", "stacktrace", "topic", "partition", "offset")
    }
    assert headers["__streams.errors.message"] == b"not_json: JSON is malformed"
    assert headers["__streams.errors.topic"] == b"documents"
    assert headers["__streams.errors.partition"] == b"3"
    assert headers["__streams.errors.offset"] == b"99"
    assert b"index=5" in headers["__streams.errors.stacktrace"]
