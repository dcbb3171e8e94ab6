"""Dead letters and verdicts of a running service, as an operator and other readers see them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from kafka import KafkaProducer

from consumers.formats.dead_letters import read_dead_letter
from curatord.errors import ConfigError, UsageError
from curatord.records import DeadLetter
from daemon.cli import cli
from tests.integration.broker import Broker
from tests.integration.lane import Instance, Lane
from tests.integration.torture import SETTINGS
from tests.integration.world import produce_documents, read_topic, wait_until

TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LONG = b'{"id": "long", "text": "' + b"x" * 300_000
MADE_MS = int(time.time() - 3600) * 1000


def table() -> bytes:
    batch = pa.record_batch({"id": ["row-0", "row-1"], "text": ["a text in a table", None]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return bytes(sink.getvalue())


POISON: list[tuple[bytes | None, bytes | None, str]] = [
    (b"key", b'{"id": "broken"', "not_json"),
    (None, b'{"text": "good line"}\n{"text": 1}', "text_not_a_string"),
    (None, table(), "no_text"),
    (b"\xff", None, "bad_field"),
    (None, LONG, "not_json"),
]


@pytest.fixture
def lane(broker: Broker, prefix: str, tmp_path: Path) -> Lane:
    lane = Lane(broker.bootstrap, prefix, tmp_path, SETTINGS)
    lane.topics["verdicts"] = f"{prefix}-verdicts"
    lane.create_topics(partitions=2)
    return lane


def letters_of(lane: Lane) -> list[DeadLetter]:
    records = read_topic(lane.bootstrap, lane.topics["dead_letters"])
    letters = [read_dead_letter(record.key, record.value, record.headers) for record in records]
    assert None not in letters
    return [letter for letter in letters if letter is not None]


def command(lane: Lane) -> Callable[..., Result]:
    config = lane.config("operator", lane.bootstrap)
    return lambda *arguments: CliRunner().invoke(cli, ["dead-letters", *arguments, "-c", str(config)])


def send_poison(lane: Lane) -> None:
    with KafkaProducer(bootstrap_servers=lane.bootstrap, acks="all") as producer:
        for key, value, _ in POISON:
            producer.send(
                lane.topics["documents"],
                value,
                key=key,
                partition=1,
                headers=[("traceparent", TRACE)],
                timestamp_ms=MADE_MS,
            )
        producer.flush()


def test_poison_is_listed_shown_and_replayed_twice_at_most_and_verdicts_tell_the_rest(lane: Lane) -> None:
    documents = [{"id": f"d{n}", "text": f"text {n} " * (n + 3)} for n in range(40)]
    produce_documents(lane.bootstrap, lane.topics["documents"], documents, partition=0)
    send_poison(lane)
    instance = Instance(lane, "a", lane.bootstrap)
    instance.start()
    run = command(lane)
    try:
        instance.wait_for("restored")
        wait_until(lambda: len(letters_of(lane)) == len(POISON), "the dead letters")
        check_first_letters(lane, run)

        assert run("replay", "--dry-run").exit_code == 0
        assert len(letters_of(lane)) == len(POISON)
        replayed = run("replay", "--json")
        assert (replayed.exit_code, sum(json.loads(replayed.output)["replayed"].values())) == (0, len(POISON))
        wait_until(lambda: len(letters_of(lane)) == 2 * len(POISON), "the letters of what was replayed")
        check_replayed_letters(letters_of(lane)[len(POISON) :])

        again = [example["place"] for example in newest(run) if example["attempts"] == 1]
        assert len(again) == len(POISON)
        assert run("replay", *again).exit_code == 0
        wait_until(lambda: len(letters_of(lane)) == 3 * len(POISON), "the letters of what was replayed again")

        third = [example["place"] for example in newest(run) if example["attempts"] == 2]
        refused = run("replay", *third)
        assert refused.exit_code == 1
        assert refused.output.count("was replayed 2 times already") == len(POISON)
        assert len(letters_of(lane)) == 3 * len(POISON)
        assert instance.stop() == 0
    finally:
        instance.kill()

    rows = [
        row
        for record in read_topic(lane.bootstrap, lane.topics["verdicts"])
        for row in pa.ipc.open_stream(record.value).read_all().to_pylist()
    ]
    ids = Counter(row["doc_id"] for row in rows)
    good = {f"d{n}" for n in range(40)} | {"row-0", f"{lane.topics['documents']}-1:1:0"}
    assert ids == dict.fromkeys(good, 1)
    assert {row["outcome"] for row in rows} <= {"accepted", "rejected"}


def newest(run: Callable[..., Result]) -> list[dict[str, Any]]:
    tree = json.loads(run("list", "--json").output)
    return [example for examples in tree["newest"].values() for example in examples]


def check_first_letters(lane: Lane, run: Callable[..., Result]) -> None:
    reasons = Counter(reason for _, _, reason in POISON)
    tree = json.loads(run("list", "--json").output)
    assert tree["by_reason"] == reasons
    assert tree["by_source"] == {f"{lane.topics['documents']}-1": len(POISON)}
    assert json.loads(run("list", "--json", "--reason", "bad_field").output)["letters"] == 1
    assert json.loads(run("list", "--json", "--since", "2999-01-01").output)["letters"] == 0
    assert "not_json" in run("list").output

    letters = {letter.position: letter for letter in letters_of(lane)}
    for position, (_, value, reason) in enumerate(POISON):
        letter = letters[position]
        assert (letter.reason, letter.traceparent, letter.attempts) == (reason, TRACE.decode(), 0)
        assert letter.timestamp_us == MADE_MS * 1000
        assert letter.truncated == (position in (2, 3, 4))
        if not letter.truncated:
            assert letter.original in (value, b'{"text": 1}')
    assert letters[4].original == LONG[: 64 << 10]
    assert [letters[position].index for position in range(5)] == [None, 1, 1, None, None]

    (broken,) = (example for example in newest(run) if example["key"] == "key")
    shown = run("show", broken["place"])
    assert '{"id": "broken"' in shown.output
    assert TRACE.decode() in shown.output
    assert run("show", broken["place"], "--raw").output_bytes == b'{"id": "broken"'
    assert isinstance(run("show", "0:999999").exception, UsageError)


def check_replayed_letters(letters: list[DeadLetter]) -> None:
    """They failed for the same reason, at another place, and are what was sent at first."""
    assert [letter.attempts for letter in letters] == [1] * len(POISON)
    assert {letter.traceparent for letter in letters} == {TRACE.decode()}
    assert {letter.timestamp_us for letter in letters} == {MADE_MS * 1000}
    by_reason = {(letter.reason, letter.key): letter for letter in letters}
    assert by_reason["not_json", "key"].original == b'{"id": "broken"'
    assert by_reason["not_json", ""].original == LONG[: 64 << 10]
    assert by_reason["text_not_a_string", ""].original == b'{"text": 1}'
    assert by_reason["no_text", ""].index == 0  # its row alone
    assert by_reason["bad_field", ""].original == b"\xff"


def test_without_a_topic_the_message_says_how_to_check(lane: Lane) -> None:
    lane.topics["dead_letters"] = "no-such-topic"
    result = command(lane)("list")
    assert isinstance(result.exception, ConfigError)
    assert "topics check" in str(result.exception)
