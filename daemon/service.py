"""`curatord run`: the pipeline as a service. Stand by, take over, catch up, loop; crash-only.

join ─ stand by (follow the journal) ─ take over (fence the owner before) ─ catch up ─ restore ─ loop ─ drain
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from consumers.broker import Broker
from consumers.kafka import KafkaBroker
from consumers.outputs import open_outputs
from curatord.errors import BrokerUnavailable
from daemon.app import build, check_identity, encode_identity
from daemon.config import Config, load_config
from daemon.lifecycle import Loop, StopRequest, catch_up, stand_by
from daemon.pipeline import Pipeline
from packing.tokenizer import Tokenizer, open_tokenizer
from state.snapshot import Snapshots
from state.store import Store

LAG_INTERVAL_S = 5.0
MAX_WAIT_FOR_BROKER_S = 5.0


def run_service(config_path: Path | None) -> int:
    """Run until somebody asks to stop; the exit code."""
    config = load_config(config_path)
    with StopRequest(config.daemon.drain_timeout_s).installed() as stop:
        tokenizer = open_tokenizer(config.tokenizer)
        store = open_state(config)
        try:
            broker = connect(config, tokenizer, store, stop)
            if broker is None:
                return 0
            pipeline = build(config, store, tokenizer)
            try:
                broker.join()
                serve(broker, pipeline, store, config, tokenizer, stop)
            finally:
                pipeline.stages.workers.close()
                broker.close()
        finally:
            store.close()
    return 0


def open_state(config: Config) -> Store:
    """The state; a lost one comes back from the newest snapshot. The journal brings what is missing."""
    folder = Path(config.state.dir)
    if config.state.snapshot_dir and not (folder / "CURRENT").exists():
        snapshots_of(config).restore(folder)
    return Store(folder)


def snapshots_of(config: Config) -> Snapshots:
    """The snapshots of the lane."""
    return Snapshots(Path(config.state.snapshot_dir) / config.kafka.lane)


def connect(config: Config, tokenizer: Tokenizer, store: Store, stop: StopRequest) -> KafkaBroker | None:
    """A member of the cluster that may ask for the lane; None if a stop was asked for before there was a cluster.

    Raises `IdentityError` if the lane belongs to another configuration.
    """
    attempt = 0
    while not stop.requested:
        try:
            outputs = open_outputs(
                config.kafka,
                config.topics,
                config.packing,
                tokenizer_digest=tokenizer.digest,
                vocabulary_size=tokenizer.vocabulary_size,
            )
            identity = encode_identity(config, tokenizer)
            broker = KafkaBroker(config.kafka, config.topics, config.input, outputs, store, identity)
            committed = broker.committed()
            if committed is not None:
                check_identity(config, tokenizer, committed, f"lane {config.kafka.lane}")
            return broker
        except BrokerUnavailable:
            time.sleep(min(0.5 * 2**attempt, MAX_WAIT_FOR_BROKER_S))
            attempt += 1
    return None


def serve(
    broker: Broker,
    pipeline: Pipeline,
    store: Store,
    config: Config,
    tokenizer: Tokenizer,
    stop: StopRequest,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """From standing by to the end. Returns after a drain; raises if this process must not go on."""
    pipeline.load(store)
    pipeline.compile()
    stand_by(broker, store, pipeline, lambda: None, stop)
    if stop.requested:
        return
    committed = broker.take_over()
    if committed is not None:
        check_identity(config, tokenizer, committed, f"lane {config.kafka.lane}")
    catch_up(store, broker, committed, lambda record: pipeline.follow(record.changes, store))
    pipeline.restore(store)
    loop = Loop(pipeline, broker, config.daemon, encode_identity(config, tokenizer), clock)
    idle_since = clock()
    flushed = False
    while not stop.requested:
        if loop.step(stop):
            idle_since, flushed = clock(), False
        elif not flushed and clock() - idle_since >= config.output.max_wait_s:
            loop.flush()
            loop.commit()
            flushed = True
