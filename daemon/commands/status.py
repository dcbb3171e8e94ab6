"""`curatord status`: how the service does, on one screen: what the process says, and what the cluster says."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from consumers.kafka.clients import connected_admin, connected_consumer, group_members, group_offsets, unreachable
from consumers.kafka.marker import decode_marker
from curatord.errors import BrokerUnavailable, StateError, UsageError
from daemon.commands.read_state import opened_for_reading
from daemon.commands.screen import PATIENCE_S, show
from daemon.config import Config, load_config
from daemon.stages.deciding_options import differences
from state.safe_points import read_safe_points

DEGRADED = 1
MB = 1_000_000
_SAMPLE = re.compile(r"^(?:curatord_)?(\w+?)(?:\{(.*)\})? ([-+.e\dinfa]+)$", re.MULTILINE | re.IGNORECASE)
_LABEL = re.compile(r'\w+="([^"]*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """From where on a training run may still read."""

    run_id: str
    generation: int
    safe_seq_no: int


@dataclass(slots=True, kw_only=True)
class Status:
    """The findings; None where there was no answer."""

    lane: str
    epoch: int | None = None  # committed
    members: list[str] = field(default_factory=list)  # clients of the group, by host
    lag: dict[str, int] = field(default_factory=dict)  # messages that wait, by partition
    workers: list[str] = field(default_factory=list)  # clients of the group that prepares, by host
    unprepared: dict[str, int] | None = None  # documents that wait for a worker, by partition
    prepared: dict[str, int] | None = None  # messages of workers that wait for the lane, by partition
    scorers: list[str] = field(default_factory=list)  # clients of the group that scores, by host
    unscored: dict[str, int] | None = None  # requests for rewards that wait for a scorer, by partition
    readiness: str = ""  # of the process at metrics.listen
    is_ready: bool | None = None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)  # name -> labels -> value
    runs: list[RunStatus] = field(default_factory=list)  # as the state on this machine knows them
    options: list[str] = field(default_factory=list)  # that are not those that documents were decided with
    headroom: float | None = None  # sequences that retention may still cut before one of them cannot go on
    places: float | None = None  # prepared messages that retention may still cut before it reaches tokens that are held
    problems: list[str] = field(default_factory=list)


def print_status(config_path: Path | None, *, as_json: bool) -> int:
    """Print it: 0 healthy, 1 degraded. Raises `BrokerUnavailable` if neither process nor cluster answers."""
    config = load_config(config_path)
    status = Status(lane=config.kafka.lane)
    _ask_process(config, status)
    _ask_state(config, status)
    try:
        _ask_cluster(config, status)
    except BrokerUnavailable as error:
        if status.is_ready is None:
            raise
        status.problems.append(str(error))
    if status.headroom is not None and status.headroom < 0:
        status.problems.append(
            "retention has cut sequences that a run may still need: see docs/operating.md#checkpoint-lost"
        )
    if status.places is not None and status.places < 0:
        status.problems.append(
            "retention has cut prepared messages of which documents are held: see docs/operating.md#places-cut"
        )
    if not status.members:
        status.problems.append("no process is in the lane's group: start `curatord run`")
    if status.unprepared is not None and not status.workers:
        status.problems.append(f"no worker is in the group {config.kafka.workers}: start `curatord prepare`")
    if status.unscored is not None and not status.scorers:
        status.problems.append(f"no worker is in the group {config.kafka.scorers}: start `curatord score`")
    if status.is_ready is False:
        status.problems.append(f"the process here is not ready: {status.readiness}")
    if as_json:
        click.echo(json.dumps(asdict(status), indent=2))
    else:
        show(*_lines(config, status))
    return DEGRADED if status.problems else 0


def _ask_process(config: Config, status: Status) -> None:
    """Answer of the process at `metrics.listen`, if there is one."""
    if not config.metrics.listen:
        return
    host, port = config.metrics.address
    base = f"http://{'127.0.0.1' if host in ('', '0.0.0.0') else host}:{port}"
    try:
        code, body = _get(base + "/readyz")
        status.is_ready, status.readiness = code == 200, json.loads(body)["reason"]
        for name, labels, value in _SAMPLE.findall(_get(base + "/metrics")[1]):
            status.metrics.setdefault(name, {})["/".join(_LABEL.findall(labels))] = float(value)
    except (OSError, ValueError, KeyError):
        status.readiness = f"no process answers at {config.metrics.listen}"
    status.headroom = status.metrics.get("retention_headroom_sequences", {}).get(config.kafka.lane)
    status.places = min(status.metrics.get("prepared_headroom_messages", {}).values(), default=None)


def _ask_state(config: Config, status: Status) -> None:
    """State of the process on this machine, if there is one."""
    # Without one the process is on another machine; one that cannot be read it complains of itself.
    with suppress(StateError, UsageError), opened_for_reading(Path(config.state.dir)) as store:
        status.runs = [
            RunStatus(run_id=point.run_id, generation=point.generation, safe_seq_no=point.safe_seq_no)
            for point in read_safe_points(store)
        ]
        status.options = [str(difference) for difference in differences(store, config)]


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def _ask_cluster(config: Config, status: Status) -> None:
    """The marker, the group's members and the lag. Raises `BrokerUnavailable`."""
    kafka = config.kafka.patient(PATIENCE_S)
    admin, consumer = connected_admin(kafka), connected_consumer(kafka, group_id=None)
    try:
        _ask(admin, consumer, config, status)
    except KafkaError as error:
        raise unreachable(kafka, error) from error
    finally:
        admin.close()
        consumer.close()


def _ask(admin: KafkaAdminClient, consumer: KafkaConsumer, config: Config, status: Status) -> None:
    lane, topics = config.kafka.lane, config.topics
    offsets = group_offsets(admin, lane)
    members = group_members(admin, lane)
    status.members = _named(members)
    marker = offsets.get(TopicPartition(topics.journal, 0))
    if marker is not None and marker.metadata:
        status.epoch = decode_marker(marker.metadata).e
    try:
        status.lag = _lag(consumer, offsets, topics.documents)
        if topics.prepared:
            of_workers = group_offsets(admin, config.kafka.workers)
            status.workers = _named(group_members(admin, config.kafka.workers))
            status.unprepared = _lag(consumer, of_workers, topics.documents)
            status.prepared = _lag(consumer, offsets, topics.prepared)
        if topics.probes:
            status.scorers = _named(group_members(admin, config.kafka.scorers))
            status.unscored = _lag(consumer, group_offsets(admin, config.kafka.scorers), topics.probes)
    except KafkaError as error:  # a leader died, and there is no other yet
        status.problems.append(f"how far it is behind is not known now: {error}")


def _named(members: list[dict[str, Any]]) -> list[str]:
    return [f"{member['client_id']} at {member['client_host']}" for member in members]


def _lag(consumer: KafkaConsumer, offsets: Mapping[TopicPartition, OffsetAndMetadata], topic: str) -> dict[str, int]:
    """Messages behind the offsets of a group, by partition. Raises `KafkaError`."""
    partitions = [partition for partition in offsets if partition.topic == topic]
    ends = consumer.end_offsets(partitions) if partitions else {}
    return {f"{topic}-{p.partition}": max(0, end - offsets[p].offset) for p, end in ends.items()}


def _lines(config: Config, status: Status) -> Iterator[str]:
    metrics = status.metrics
    yield f"Lane {status.lane}: epoch {'none yet' if status.epoch is None else format(status.epoch, ',')}"
    yield f"Process   {status.readiness or 'metrics.listen is off'}"
    yield f"Members   {', '.join(status.members) or 'none'}"
    waiting = sum(status.lag.values())
    yield f"Lag       {waiting:,} messages in {len(status.lag)} partitions of {config.topics.documents}"
    if status.unprepared is not None:
        waiting = sum(status.unprepared.values())
        yield f"Workers   {', '.join(status.workers) or 'none'}; {waiting:,} messages wait for them"
        yield f"Prepared  {sum((status.prepared or {}).values()):,} messages of workers wait for the lane"
    if status.unscored is not None:
        waiting = sum(status.unscored.values())
        yield f"Scorers   {', '.join(status.scorers) or 'none'}; {waiting:,} requests for rewards wait for them"
    outcomes = metrics.get("documents_total", {})
    if outcomes:
        total = sum(outcomes.values())
        shares = ", ".join(f"{name} {count:,.0f} ({count / max(total, 1):.1%})" for name, count in outcomes.items())
        yield f"Documents {total:,.0f} since this process owns the lane: {shares}"
    if "held_documents" in metrics:
        yield f"Held      {metrics['held_documents']['']:,.0f} documents"
    if "sequences_total" in metrics:
        yield f"Sequences {metrics['sequences_total']['']:,.0f}"
    for option in status.options:
        yield f"Option    {option}; it counts for new documents only"
    for run in status.runs:
        yield f"Run       {run.run_id} may read again from sequence {run.safe_seq_no:,} of generation {run.generation}"
    if status.headroom is not None:
        yield f"Headroom  {status.headroom:,.0f} sequences until retention reaches the first that a run may need"
    if status.places is not None:
        yield f"Prepared  {status.places:,.0f} messages until retention reaches tokens that the journal does not hold"
    if "index_bytes" in metrics:
        used, wanted = metrics["index_bytes"][""], metrics.get("index_wanted_bytes", {}).get("", 0.0)
        yield f"Indices   {used / MB:,.0f} MB of {config.state.memory / MB:,.0f} MB (state.memory)"
        if wanted > config.state.memory:
            yield f"          look-ups read from disk; with state.memory = {wanted:,.0f} they would not"
    if "process_open_fds" in metrics and "process_max_fds" in metrics:
        yield f"Files     {metrics['process_open_fds']['']:,.0f} open of {metrics['process_max_fds']['']:,.0f}"
    phases = {name: spent for name, spent in metrics.get("loop_seconds_total", {}).items() if spent}
    if phases:
        total = sum(phases.values())
        largest = sorted(phases.items(), key=lambda item: -item[1])[:6]
        yield "Loop      " + ", ".join(f"{name} {spent / total:.0%}" for name, spent in largest)
    for problem in status.problems:
        yield f"PROBLEM   {problem}"
