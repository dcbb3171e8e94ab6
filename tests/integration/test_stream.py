"""PackedStream on a real topic: found by number among transactions, ended, resumed, and every loss seen."""

from __future__ import annotations

import threading
import time
from itertools import islice

import numpy as np
import pytest
from kafka import KafkaAdminClient, KafkaProducer

from consumers.formats.feedback import decode_feedback
from curatord.errors import (
    BrokerUnavailable,
    ForeignStream,
    GenerationEnded,
    RetentionLost,
    SequenceGap,
    StreamError,
)
from curatord.records import Feedback, SafePoint
from curatord.stream import PackedStream
from tests.curatord.streams import CONTEXT, row
from tests.integration.broker import Broker
from tests.integration.world import create_topics, read_topic
from tests.integration.writer import PARTITIONS, Writer, delete_before


@pytest.fixture
def url(broker: Broker, topic: str) -> str:
    return f"kafka://{broker.bootstrap}/{topic}"


def numbers(stream: PackedStream, count: int) -> list[int]:
    with stream:
        return [sequence.seq_no for sequence in islice(stream, count)]


def test_every_rank_finds_its_sequences_among_transactions(writer: Writer, url: str) -> None:
    for first in range(0, 600, 40):
        writer.write(range(first, first + 40))
        writer.write(range(first + 40, first + 80), abort=True)
    writer.write([], end=600)

    for world in (1, 2, 3, 4, 6, 8):
        for rank in {0, world - 1}:
            stream = PackedStream(url, rank=rank, world=world, start=100)
            expected = [n for n in range(100, 600) if n % world == rank][: 500 // world]
            assert numbers(stream, 1000) == expected, (rank, world)
    for start in (0, 1, 97, 333, 599):
        assert numbers(PackedStream(url, start=start), 3) == list(range(start, min(start + 3, 600)))
    bounds = PackedStream(url).bounds()
    assert (bounds.generation, bounds.first, bounds.end) == (0, 0, 600)
    with PackedStream(url) as stream:
        assert [sequence.doc_ids for sequence in islice(stream, 50)] == [row(n).doc_ids for n in range(50)]
        assert 450 <= stream.lead <= 650
        assert stream.dry_run(100).sequences == 100
        state = stream.state_dict(consumed=7)
    with PackedStream(url, start=300) as stream:
        assert len(list(stream)) == 300
        assert stream.lead == 0  # though markers and aborted records lie behind the last
    assert numbers(PackedStream(url, start=state, rank=1, world=2), 2) == [7, 9]
    assert numbers(PackedStream(url, start=595, rank=3, world=4), 9) == [595]  # 599 has no whole round of four


def test_it_follows_a_topic_that_grows_and_goes_on_after_an_end(writer: Writer, url: str) -> None:
    stream = PackedStream(url)
    writer.write(range(10))
    seen = [next(stream).seq_no]
    reading = threading.Thread(target=lambda: seen.extend(sequence.seq_no for sequence in stream))
    reading.start()
    for first in (10, 20):
        writer.write(range(first, first + 10))
    writer.write([], end=30)
    writer.write(range(30, 40), end=40)
    reading.join(20)

    assert seen == list(range(30))
    state = stream.state_dict()
    stream.close()
    assert numbers(PackedStream(url, start=state), 100) == list(range(30, 40))


def test_a_round_that_is_not_whole_is_held_back(writer: Writer, url: str) -> None:
    writer.write(range(7))
    ranks = [PackedStream(url, rank=rank, world=3) for rank in range(3)]
    assert [next(stream).seq_no for stream in ranks] == [0, 1, 2]
    seen: list[int] = []
    reading = threading.Thread(target=lambda: seen.extend(sequence.seq_no for sequence in ranks[0]))
    reading.start()
    writer.write([7], end=8)
    reading.join(20)

    assert seen == [3]
    assert [sequence.seq_no for stream in ranks[1:] for sequence in stream] == [4, 5]
    for stream in ranks:
        stream.close()


def test_every_rank_meets_an_end_that_lies_within_its_first_round(writer: Writer, url: str) -> None:
    writer.write(range(9), end=9)
    seen: list[list[int]] = []
    streams = [PackedStream(url, rank=rank, world=4, start=8) for rank in range(4)]
    for stream in streams:
        reading = threading.Thread(target=lambda s: seen.append(numbers(s, 9)), args=[stream], daemon=True)
        reading.start()
        reading.join(20)

    assert seen == [[], [], [], []]


def test_an_end_within_a_step_does_not_hold_the_job_at_every_start(writer: Writer, url: str) -> None:
    writer.write(range(9), end=9)
    writer.write(range(9, 20))
    ranks = [PackedStream(url, rank=rank, world=4, start=8) for rank in range(4)]
    first = [next(stream).seq_no for stream in ranks]
    writer.write(range(20, 24), end=24)

    assert first == [8, 9, 10, 11]
    assert [numbers(stream, 9) for stream in ranks] == [[12 + rank, 16 + rank, 20 + rank] for rank in range(4)]


def test_a_rank_that_reads_anew_stops_at_the_end_of_the_others(writer: Writer, url: str) -> None:
    writer.write(range(8))
    stream = PackedStream(url)
    assert [next(stream).seq_no for _ in range(4)] == [0, 1, 2, 3]
    writer.write([], end=8)
    writer.write(range(8, 20), end=20)
    stream.close()

    assert numbers(stream, 20) == [4, 5, 6, 7]
    stream.load_state_dict(stream.state_dict())
    assert numbers(stream, 20) == list(range(8, 20))


def test_looking_goes_past_ends(writer: Writer, url: str) -> None:
    writer.write(range(30), end=30)
    writer.write(range(30, 50), end=50)
    stream = PackedStream(url, start=20)

    assert [sequence.seq_no for sequence in stream.replay(20, 40)] == list(range(20, 40))
    assert [sequence.seq_no for sequence in stream.replay(45, 60)] == list(range(45, 50))
    assert stream.dry_run(100).sequences == 30
    stream.close()


def test_lost_retention_says_where_to_start(broker: Broker, topic: str, writer: Writer, url: str) -> None:
    writer.write(range(100))
    writer.write(range(100, 200))
    delete_before(broker.bootstrap, topic, {0: 10, 1: 10, 2: 11, 3: 10})

    with pytest.raises(RetentionLost, match="start=43") as caught:
        numbers(PackedStream(url, start=5), 1)
    assert (caught.value.wanted, caught.value.oldest) == (5, 43)
    assert numbers(PackedStream(url, start=43), 157) == list(range(43, 200))
    assert numbers(PackedStream(url), 3) == [43, 44, 45]


def test_deleted_under_the_reader(broker: Broker, topic: str, writer: Writer, url: str) -> None:
    stream = PackedStream(url, prefetch=1)
    writer.write(range(8))
    assert [next(stream).seq_no for _ in range(4)] == [0, 1, 2, 3]
    stream.close()
    writer.write(range(8, 2000))
    delete_before(broker.bootstrap, topic, dict.fromkeys(range(PARTITIONS), 400))

    with pytest.raises(RetentionLost) as caught:
        next(stream)
    assert caught.value.wanted == 4
    stream.close()


def test_a_hole_is_an_error_or_filled(writer: Writer, url: str) -> None:
    writer.write(range(10))
    writer.write([n for n in range(10, 40) if n not in (21, 25)], end=40)

    with pytest.raises(SequenceGap, match="sequence 21 is missing") as caught:
        numbers(PackedStream(url), 40)
    assert (caught.value.expected, caught.value.found) == (21, 29)
    with PackedStream(url, on_gap="fill") as stream:
        filled = list(stream)
    assert [sequence.seq_no for sequence in filled] == list(range(40))
    assert [sequence.seq_no for sequence in filled if sequence.is_filler] == [21, 25]


def test_a_new_generation_is_another_stream(writer: Writer, url: str) -> None:
    writer.write(range(50))
    writer.write([], generation=1, context=64, end=0)  # as the daemon marks it, on every partition
    writer.write(range(1), generation=1, context=64)  # on one of them

    assert [PackedStream(url).bounds().first, PackedStream(url).bounds().end] == [0, 1]
    with PackedStream(url) as stream:
        assert next(stream).context_length == 64
    old = PackedStream(url, generation=0, rank=1, world=2, start=40)
    assert [next(old).seq_no for _ in range(5)] == [41, 43, 45, 47, 49]
    with pytest.raises(GenerationEnded, match="generation=1"):
        next(old)
    old.close()
    writer.write(range(1, 20), generation=1, context=64)
    assert numbers(PackedStream(url), 5) == [0, 1, 2, 3, 4]
    bounds = PackedStream(url, generation=0).bounds()
    assert (bounds.first, bounds.end) == (0, 50)


def test_a_job_that_stands_at_the_end_of_a_generation_is_told_of_the_next(writer: Writer, url: str) -> None:
    writer.write(range(50), end=50)
    for start, world in ((50, 1), (48, 3)):
        assert numbers(PackedStream(url, start=start - world, world=world, rank=0), 9) == [start - world]
    writer.write([], generation=1, context=64, end=0)
    writer.write(range(1), generation=1, context=64)

    for start, world in ((50, 1), (48, 3)):
        for rank in range(world):
            with (
                PackedStream(url, start=start, generation=0, rank=rank, world=world) as stream,
                pytest.raises(GenerationEnded, match="generation=1"),
            ):
                next(stream)


def test_a_topic_made_anew_is_another_stream(broker: Broker, topic: str, writer: Writer, url: str) -> None:
    writer.write(range(20))
    with PackedStream(url) as stream:
        next(stream)
        state = stream.state_dict()
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as admin:
        admin.delete_topics([topic])
        create_topics(broker.bootstrap, {topic: PARTITIONS})

    with pytest.raises(ForeignStream, match="made anew"):
        next(PackedStream(url, start=state))


def test_what_is_no_stream_is_said_to_be_none(broker: Broker, topic: str, url: str) -> None:
    with pytest.raises(StreamError, match="no topic missing"):
        next(PackedStream(f"kafka://{broker.bootstrap}/missing"))
    with KafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
        producer.send(topic, b"hello", partition=1).get(timeout=10)
    with pytest.raises(StreamError, match="is no packed sequence"):
        next(PackedStream(url))
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        next(PackedStream("kafka://127.0.0.1:1/sequences", client_options={"bootstrap_timeout_ms": 1000}))


def reports_of(bootstrap: str, topic: str) -> list[Feedback]:
    records = [decode_feedback(record.value) for record in read_topic(bootstrap, topic)]
    return sorted((r for r in records if isinstance(r, Feedback)), key=lambda r: (r.step, r.rank))


def test_losses_go_back_by_segment(broker: Broker, topic: str, writer: Writer, url: str) -> None:
    create_topics(broker.bootstrap, {f"{topic}-feedback": 2})
    writer.write(range(40))
    feedback = f"kafka://{broker.bootstrap}/{topic}-feedback"
    for rank in range(2):
        with PackedStream(url, rank=rank, world=2, run_id="run", feedback=feedback) as stream:
            for step in range(3):
                for _ in range(2):  # micro-batches of one step
                    batch = list(islice(stream, 2))
                    stream.report(np.full((2, CONTEXT), 0.5), batch, step=step, skipped=step == 1)
            stream.release(stream.state_dict())

    reports = reports_of(broker.bootstrap, f"{topic}-feedback")

    assert [(r.step, r.rank, r.world, r.count, r.stride) for r in reports] == [
        (step, rank, 2, 4, 2) for step in range(3) for rank in range(2)
    ]
    for report in reports:
        assert report.first_seq_no == 8 * report.step + report.rank
        assert report.skipped == (report.step == 1)
        rows = [row(report.first_seq_no + 2 * number) for number in range(4)]
        lengths = np.concatenate([sequence.segment_lengths_S for sequence in rows])
        assert np.frombuffer(report.num_segments, "<u2").tolist() == [len(s.segment_lengths_S) for s in rows]
        assert np.frombuffer(report.num_targets, "<u4").tolist() == (lengths - 1).tolist()
        np.testing.assert_allclose(np.frombuffer(report.sum_nll, "<f4"), (lengths - 1) / 2)
    points = [decode_feedback(record.value) for record in read_topic(broker.bootstrap, f"{topic}-feedback")]
    assert [p.safe_seq_no for p in points if isinstance(p, SafePoint)] == [24, 24]


def test_a_hole_does_not_keep_a_step_from_being_reported(broker: Broker, topic: str, writer: Writer, url: str) -> None:
    create_topics(broker.bootstrap, {f"{topic}-feedback": 1})
    writer.write([0, 1, 3], end=4)
    feedback = f"kafka://{broker.bootstrap}/{topic}-feedback"
    with pytest.raises(SequenceGap, match="sequence 2 is missing"):
        numbers(PackedStream(url), 4)
    with PackedStream(url, on_gap="fill", run_id="run", feedback=feedback) as stream:
        stream.report(np.ones((4, CONTEXT)), list(stream), step=0)

    (report,) = reports_of(broker.bootstrap, f"{topic}-feedback")

    segments = [0 if number == 2 else len(row(number).segment_lengths_S) for number in range(4)]
    assert (report.first_seq_no, report.count) == (0, 4)
    assert np.frombuffer(report.num_segments, "<u2").tolist() == segments


def test_retention_that_cut_just_before_an_end_lost_what_lies_before_it(
    broker: Broker, topic: str, writer: Writer, url: str
) -> None:
    writer.write(range(30), end=30)
    writer.write(range(30, 50))
    # Partition 1 begins with the end now: 29 was its last before it.
    delete_before(broker.bootstrap, topic, {1: 8})

    assert PackedStream(url).bounds().first == 30
    assert numbers(PackedStream(url), 20) == list(range(30, 50))


def test_reports_never_hold_training_up(broker: Broker, writer: Writer, url: str) -> None:
    writer.write(range(8))
    with PackedStream(url, run_id="run", feedback="kafka://127.0.0.1:1/feedback") as stream:
        batch = list(islice(stream, 4))
        began = time.monotonic()
        for step in range(3000):
            stream.report(np.zeros((4, CONTEXT)), batch, step=step)
        assert time.monotonic() - began < 300  # a send that waited would take 5 s
        assert stream.reports_dropped > 1000
