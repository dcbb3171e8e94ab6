"""`curatord archive`: a topic of sequences into a folder, here or on an object store, until it is stopped."""

from __future__ import annotations

import signal
from contextlib import closing
from pathlib import Path

from consumers.files.archive import Archiver, Place
from consumers.files.destination import open_destination
from consumers.kafka.connection import KafkaConfig, client_options
from curatord.errors import BrokerUnavailable, StoreUnavailable
from curatord.topic import TopicSource
from daemon.config import Config, load_config
from daemon.observer import check_config, observed
from daemon.signals import StopRequest
from daemon.work import RETRY_S
from ops.events import Events
from state.store import explain_storage


def archive_topic(config_path: Path | None, output: str, *, max_wait_s: float, once: bool) -> int:
    """Archive until a stop is asked for, or, with `once`, what there is now; the exit code.

    A broker or a store that is away is waited for, but not with `once`. Raises `ConfigError`, `StreamError` if there
    is no such topic or protocol, or the topic was cut before it was archived; `StateBusy`, `StorageError`.
    """
    config = load_config(config_path)
    with observed(config) as events, StopRequest(config.daemon.drain_timeout_s).installed() as stop:
        while not stop.requested:
            try:
                _archive(config, output, max_wait_s, events, stop, config_path, once=once)
            except (BrokerUnavailable, StoreUnavailable) as error:
                if once:
                    raise
                events.broker_away(str(error))
                stop.wait(RETRY_S)
            except OSError as error:
                raise explain_storage(error, Path(output)) from error
            else:
                break
        if stop.requested:
            events.draining(signal.Signals(stop.signal_number).name)
    return 0


def _archive(
    config: Config,
    output: str,
    max_wait_s: float,
    events: Events,
    stop: StopRequest,
    config_path: Path | None,
    *,
    once: bool,
) -> None:
    destination = open_destination(output)
    with closing(_topic(config.kafka, config.topics.sequences)) as source:
        archiver = Archiver(source, destination, max_wait_s=max_wait_s)
        newest = source.bounds(None)
        end = Place(newest.generation, newest.end)
        events.broker_back()
        for archived in archiver.run():
            events.archive_measured(lag=archiver.lag())
            if archived is not None:
                events.archived(archived.name, sequences=archived.sequences)
            if stop.take_hangup():
                check_config(config, config_path, events)
            if stop.requested:
                return
            if once and archived is None and archiver.reached() >= end:
                for last in archiver.flush():
                    events.archived(last.name, sequences=last.sequences)
                return


def _topic(config: KafkaConfig, topic: str) -> TopicSource:
    options = client_options(config)
    servers = ",".join(options.pop("bootstrap_servers"))
    return TopicSource(servers, topic, options)
