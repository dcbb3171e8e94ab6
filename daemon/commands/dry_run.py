"""`curatord run --dry-run`: the pipeline over the topic's documents as they are, with nothing written anywhere."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import click
from kafka import TopicPartition
from kafka.errors import KafkaError

from consumers.broker import RawDocument
from consumers.kafka.clients import connected_consumer, describe_topics
from consumers.kafka.inbox import rows_of_message
from curatord.errors import BrokerUnavailable
from daemon.app import build
from daemon.commands.screen import show
from daemon.config import Config, load_config
from daemon.pipeline import Pipeline
from daemon.signals import StopRequest
from packing.tokenizer import open_tokenizer
from state.epoch import Epoch
from state.store import Store

POLL_S = 1.0


def dry_run(config_path: Path | None, max_documents: int, *, as_json: bool) -> int:
    """Read up to so many rows from the beginning of the topic, and print what would become of them.

    Its state is thrown away; it joins no group, commits nothing and sends nothing.
    Raises `ConfigError`, `BrokerUnavailable`.
    """
    config = load_config(config_path)
    with StopRequest().installed() as stop, tempfile.TemporaryDirectory(prefix="curatord-dry-run-") as folder:
        store = Store(Path(folder) / "state")
        try:
            pipeline = build(config, store, open_tokenizer(config.tokenizer))
            pipeline.restore(store)
            began = time.monotonic()
            rows = _process(config, pipeline, store, max_documents, stop)
            _report(pipeline, rows, time.monotonic() - began, as_json=as_json)
            pipeline.close()
        finally:
            store.close()
    return 0


def _process(config: Config, pipeline: Pipeline, store: Store, max_documents: int, stop: StopRequest) -> int:
    """Everything that lies on the topic now, at most so many rows."""
    topic = config.topics.documents
    partitions = [
        TopicPartition(topic, number) for number in range(describe_topics(config.kafka, [topic])[topic].num_partitions)
    ]
    consumer = connected_consumer(config.kafka, group_id=None, isolation_level="read_committed")
    epoch = Epoch(number=1, identity="{}")
    rows_read = 0
    try:
        consumer.assign(partitions)
        first, end = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        for partition in partitions:
            consumer.seek(partition, first[partition])
        while rows_read < max_documents and not stop.requested:
            if all(consumer.position(partition) >= end[partition] for partition in partitions):
                break
            fetched = consumer.poll(int(POLL_S * 1000), max_records=min(256, max_documents - rows_read))
            rows: list[RawDocument] = []
            for messages in fetched.values():
                for message in messages:
                    rows += rows_of_message(message, config.input)
            pipeline.process(rows, epoch)
            rows_read += len(rows)
            if epoch.num_rows >= config.daemon.epoch_documents:
                pipeline.gather(epoch)
                store.apply(epoch.changes(), durable=False)
                epoch = Epoch(number=epoch.number + 1, identity="{}")
    except KafkaError as error:
        raise BrokerUnavailable(f"topic {topic} cannot be read: {error}") from error
    finally:
        consumer.close()
    pipeline.flush(epoch)
    pipeline.gather(epoch)
    return rows_read


def _report(pipeline: Pipeline, rows: int, seconds: float, *, as_json: bool) -> None:
    ledger = pipeline.ledger
    if as_json:
        tree = {name: getattr(ledger, name) for name in ledger.__struct_fields__}
        click.echo(json.dumps({"rows": rows, "seconds": seconds, "ledger": tree}, indent=2))
        return
    show(f"{rows:,} rows in {seconds:.1f} s; nothing was written, sent or committed")
    for outcome, count in ledger.rows.items():
        show(f"  {outcome:<14}{count:>10,}  {count / max(rows, 1):6.1%}")
    for title, counts in (
        ("Rejected, by stage and reason", ledger.rejections),
        ("Unreadable, by reason", ledger.dead),
        ("Accepted, and turned away later", ledger.rejected_later),
        ("Would be dropped if the rule were enforced", ledger.would_drop),
    ):
        if any(counts.values()):
            show(title)
            for name, count in sorted(counts.items(), key=lambda item: -item[1]):
                show(f"  {name:<32}{count:>10,}")
    show(f"{ledger.sequences:,} sequences, {ledger.tokens_emitted_first:,} tokens")
