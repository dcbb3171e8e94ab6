"""`curatord finish`: end the stream, so that trainers come to an end together instead of waiting for more.

The request travels over the topic of feedback, the answer over that of sequences: a client that may write to the one
and read the other can give this command, from any machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import click
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from consumers.kafka.clients import (
    connected_admin,
    connected_consumer,
    connected_producer,
    describe_topics,
    group_members,
    group_offsets,
    unreachable,
)
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.retention import ONE_BATCH
from curatord.errors import BrokerUnavailable, ConfigError
from curatord.partition import END_HEADER, committed_messages
from curatord.records import EndRequest, encode_feedback
from curatord.sequence import EndOfStream, decode_end
from daemon.commands.screen import INTERRUPTED, show
from daemon.config import load_config

LOOK_S = 1.0
POLL_MS = 200


def finish(config_path: Path | None, *, now: bool, as_json: bool) -> int:
    """Wait for the lane to commit its input, unless it is to end `now`, then end the stream and print where.

    Raises `ConfigError` without a topic of feedback, `BrokerUnavailable`, `CorruptSequence`.
    """
    config = load_config(config_path)
    kafka, topics = config.kafka, config.topics
    if not topics.feedback:
        raise ConfigError("topics.feedback is empty, so the lane hears no request: name a topic and restart the lane")
    found = describe_topics(kafka, [topics.documents, topics.sequences, topics.feedback])
    inputs, outputs = (
        [TopicPartition(topic, number) for number in range(found[topic].num_partitions)]
        for topic in (topics.documents, topics.sequences)
    )
    admin, reader = connected_admin(kafka), connected_consumer(kafka, group_id=None, isolation_level="read_committed")
    interrupted = "nothing was changed"
    try:
        _wait_for_input(admin, kafka, [] if now else inputs)
        reader.assign(outputs)
        reader.seek_to_end(*outputs)
        for partition in outputs:
            reader.position(partition)  # the end is looked up only when it is asked for
        interrupted = f"the request stays on {topics.feedback}, and the lane will end the stream when it reads it"
        _send_request(kafka, topics.feedback)
        end = _wait_for_end(reader, outputs, lambda: _is_running(admin, kafka.lane))
    except KeyboardInterrupt:
        show(f"curatord: interrupted; {interrupted}", err=True)
        return INTERRUPTED
    except KafkaError as error:
        raise unreachable(kafka, error) from error
    finally:
        admin.close()
        reader.close()
    if as_json:
        told = {"generation": end.generation, "seq_no": end.seq_no, "partitions": len(outputs)}
        click.echo(json.dumps(told, indent=2))
    else:
        show(*_told(end, topics.sequences, len(outputs)).splitlines())
    return 0


def _told(end: EndOfStream, topic: str, num_partitions: int) -> str:
    return (
        f"The stream ends before sequence {end.seq_no:,} of generation {end.generation}: all before it are on {topic}, "
        f"and the end is on each of its {num_partitions} partitions.\n"
        "Trainers read up to it and end there, all ranks after the same sequence. Documents that come later go on with "
        "that number, for trainers that begin again."
    )


def _wait_for_input(admin: KafkaAdminClient, kafka: KafkaConfig, inputs: list[TopicPartition]) -> None:
    """Until there is a lane, and it has committed these partitions to their ends. Raises `KafkaError`."""
    told = ""
    with connected_consumer(
        kafka, group_id=None, isolation_level="read_committed", max_partition_fetch_bytes=ONE_BATCH
    ) as consumer:
        while True:
            if not _is_running(admin, kafka.lane):
                missing = _no_lane(kafka.lane)
            elif waiting := _num_waiting(admin, consumer, kafka, inputs):
                missing = f"waiting for the lane to commit {waiting:,} more messages of {inputs[0].topic}"
            else:
                return
            if missing != told:
                show(f"curatord: {missing}", err=True)
            told = missing
            time.sleep(LOOK_S)


def _num_waiting(
    admin: KafkaAdminClient, consumer: KafkaConsumer, kafka: KafkaConfig, inputs: list[TopicPartition]
) -> int:
    """Messages that the lane has not committed."""
    if not inputs:
        return 0
    offsets = group_offsets(admin, kafka.lane)
    begins, ends = consumer.beginning_offsets(inputs), consumer.end_offsets(inputs)
    waiting = 0
    for partition in inputs:
        at = max(begins[partition], offsets[partition].offset if partition in offsets else 0)
        # What is left may be no message, but the mark that a producer's transaction ends with.
        deadline = time.monotonic() + kafka.request_timeout_s
        if next(committed_messages(consumer, partition, at, ends[partition], deadline), None) is not None:
            waiting += ends[partition] - at
    return waiting


def _is_running(admin: KafkaAdminClient, lane: str) -> bool:
    group_offsets(admin, lane)  # which waits for the coordinator of a cluster that never had a group
    return bool(group_members(admin, lane))


def _no_lane(lane: str) -> str:
    return f"no process is in the group of lane {lane}: start `curatord run`. Waiting for one"


def _send_request(kafka: KafkaConfig, topic: str) -> None:
    """Raises `BrokerUnavailable` if it is not sure that it arrived."""
    producer = connected_producer(kafka)
    try:
        future = producer.send(topic, encode_feedback(EndRequest(end_of_stream=True)))
        producer.flush(timeout=kafka.request_timeout_s)
        if not future.succeeded():
            raise BrokerUnavailable(
                f"the request did not arrive at {topic}: {future.exception}. Give the command again: a request that "
                "comes twice does no harm"
            )
    finally:
        producer.close(timeout=2)


def _wait_for_end(reader: KafkaConsumer, outputs: list[TopicPartition], is_running: Callable[[], bool]) -> EndOfStream:
    """The end, when it is on every partition. Raises `KafkaError`, `CorruptSequence`."""
    show("curatord: the end was asked for; waiting for the lane to send what it holds", err=True)
    ends: dict[TopicPartition, EndOfStream] = {}
    looked_at, was_running = time.monotonic(), True
    while len(ends) < len(outputs) or len(set(ends.values())) > 1:
        for partition, records in reader.poll(POLL_MS).items():
            marks = [decode_end(record.value) for record in records if END_HEADER in dict(record.headers)]
            # An end before the first sequence is where a generation begins.
            marked = [end for end in marks if end.seq_no or not end.generation]
            if marked:
                ends[partition] = marked[-1]
        if time.monotonic() - looked_at > LOOK_S:
            runs = is_running()
            if was_running and not runs:
                show("curatord: no process is in the lane's group any more: start `curatord run`", err=True)
            looked_at, was_running = time.monotonic(), runs
    return ends[outputs[0]]
