"""Observing: from what the stages know to what an operator sees. The only place where the two meet."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from consumers.broker import CommitReport, RawDocument
from curation.vectors.multilingual import UNIVERSAL_DISTRIBUTION
from curatord import __version__
from curatord.errors import CuratordError
from daemon.commands.losses import MAX_DEAD_SHARE
from daemon.config import Config, changed_options, load_config, show_config
from daemon.pipeline import Pipeline
from ops.catalogue import MAX_CLUSTERS, Metric
from ops.epochs import EpochCommitted
from ops.events import Events
from ops.health import Health
from ops.log import libraries_log_to, open_log
from ops.metrics import Metrics
from ops.open_files import raise_open_files
from ops.readings import Counts, Gauges, grown, of_metric
from ops.server import MetricsConfig, serving
from ops.systemd import ServiceManager
from packing.tokenizer import Library
from state.epoch import Epoch
from state.snapshot import StateConfig
from state.tally import Tally

TELL_TIME_S = 5.0
WINDOW_ROWS = 1000  # of an input, over which the share that cannot be read is looked at


@contextmanager
def observed(config: Config, *, file: BinaryIO | None = None) -> Iterator[Events]:
    """Log, metrics, probes and the service manager of one process, from its start to its end.

    Raises `AddressTaken` or `ConfigError` if `metrics.listen` cannot be had.
    """
    log = open_log(config.log, file)
    metrics, health = Metrics(), Health()
    events = Events(metrics, log, health, ServiceManager())
    with libraries_log_to(log), serving(config.metrics, health, metrics.registry) as listening:
        events.started(
            version=__version__,
            lane=config.kafka.lane,
            config_hash=config_hash(config),
            listening=listening,
            open_files=raise_open_files(),
        )
        try:
            yield events
        except CuratordError as error:
            events.stopped(exit_code=error.exit_code, reason=str(error))
            raise
        except BaseException as error:
            events.stopped(exit_code=1, reason=repr(error))
            raise
        events.stopped(exit_code=0)


def config_hash(config: Config) -> str:
    """Twelve digits that differ when any option does, but for those that are each process's own: folders, addresses."""
    shared = msgspec.structs.replace(config, state=StateConfig(), metrics=MetricsConfig())
    return hashlib.sha256(show_config(shared, comments=False).encode()).hexdigest()[:12]


def check_config(config: Config, path: Path | None, events: Events) -> None:
    """HUP: tell what the file would change at a restart. Nothing is taken over while the process runs."""
    try:
        changed = changed_options(config, load_config(path))
    except CuratordError as error:
        events.config_checked(changed=(), problem=str(error))
    else:
        events.config_checked(changed=changed)


class Observer:
    """Tells of every commit what changed since the one before. Make it when the state is restored.

    `clock` gives seconds since 1970; `state_dir` is the folder whose disk is watched.
    """

    def __init__(
        self,
        events: Events,
        pipeline: Pipeline,
        *,
        state_dir: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._events = events
        self._pipeline = pipeline
        self._state_dir = state_dir
        self._clock = clock
        self._counted = _counted(pipeline)
        self._version = pipeline.compose.embedder.version
        self._library = Library("", "")
        pipeline.phases.enter("observe")  # a time as a standby is not one of the loop
        self._phase_s = dict(pipeline.phases.seconds)
        self._told_at = clock()
        self._tallies: dict[str, Tally] = {}  # of each input, over the window that is open
        self._made_s: list[NDArray[np.float64]] = []  # when the messages of the open epoch were made, a poll each
        self._received_ages_s: list[NDArray[np.float64]] = []

    def polled(self, rows: Sequence[RawDocument]) -> None:
        """These rows, or none, are in the open epoch now. Call it after every poll: it is the heartbeat."""
        self._events.beat()
        made_s = np.array([row.timestamp_us for row in rows if row.timestamp_us], np.float64) / 1e6
        if len(made_s):
            self._made_s.append(made_s)
            self._received_ages_s.append(self._clock() - made_s)
        if self._clock() - self._told_at >= TELL_TIME_S:
            self._tell_time()

    def _tell_time(self) -> None:
        """Where the time went since this was told last, commits or not."""
        self._told_at = self._clock()
        before, self._phase_s = self._phase_s, dict(self._pipeline.phases.seconds)
        self._events.time_spent({phase: seconds - before.get(phase, 0.0) for phase, seconds in self._phase_s.items()})

    def committed(self, epoch: Epoch, report: CommitReport, *, commit_s: float) -> None:
        """The epoch is committed, and took `commit_s`. The time spent here is a phase of its own."""
        pipeline, events = self._pipeline, self._events
        pipeline.phases.enter("observe")
        self._tell_time()
        before, self._counted = self._counted, _counted(pipeline)
        counts = {**grown(self._counted, before), (Metric.PREPARED_REPEATED,): report.num_repeated}
        events.epoch_committed(
            EpochCommitted(
                epoch=epoch.number,
                counts=counts,
                gauges={**_measured(pipeline), **_free_bytes(self._state_dir)},
                commit_s=commit_s,
                transaction_s=report.transaction_s,
                journal_bytes=report.journal_bytes,
                received_ages_s=_joined(self._received_ages_s),
                committed_ages_s=self._clock() - _joined(self._made_s),
            )
        )
        self._made_s, self._received_ages_s = [], []
        if feedback := of_metric(Metric.FEEDBACK, counts):
            events.feedback_applied(feedback)
        if (library := pipeline.decide.prepare.tokenizer.library) != self._library:
            self._library = library
            events.tokenizer_chosen(library=library.name, slow_because=library.slow_because)
        self._tell_training()
        if epoch.end is not None:
            events.stream_ended(generation=epoch.end.generation, seq_no=epoch.end.seq_no)
        if dead_letters := of_metric(Metric.DEAD_LETTERS, counts):
            events.dead_letters_written(dead_letters)
        self._tell_losses(epoch)
        for surge in epoch.surges:
            events.removal_surge(source=surge.source, rate=surge.rate, usual_rate=surge.usual_rate)

    def _tell_training(self) -> None:
        """The version of the student, if it is new, and its teachers."""
        embedder = self._pipeline.compose.embedder
        if embedder.version == self._version or embedder.teachers is None:
            return
        self._version, teachers = embedder.version, embedder.teachers
        taught: dict[str, object] = {
            "known_share": round(self._pipeline.compose.retraining.known_share, 3),
            "foreign_share": round(teachers.foreign_share, 3),
            "beside": teachers.beside,
        }
        if embedder.untaught_share:
            taught["install"] = UNIVERSAL_DISTRIBUTION
        self._events.student_trained(version=self._version, **taught)

    def _tell_losses(self, epoch: Epoch) -> None:
        """Inputs of which more than a tenth of the last WINDOW_ROWS rows, or more, could not be read."""
        for name, tally in epoch.tallies.items():
            window = self._tallies.setdefault(name, Tally())
            window.add(tally)
            if window.rows >= WINDOW_ROWS:
                if window.dead > MAX_DEAD_SHARE * window.rows:
                    self._events.input_unreadable(
                        source=name, rows=window.rows, dead=window.dead, reason=window.reason, example=window.letter
                    )
                del self._tallies[name]


def _counted(pipeline: Pipeline) -> Counts:
    """The totals of everything that counts."""
    return {
        **pipeline.ledger.counted(),
        **pipeline.compose.packer.stats.counted(),
        **pipeline.compose.rewards.counts.counted(),
    }


def _measured(pipeline: Pipeline) -> Gauges:
    """The present values of everything that is measured."""
    clusters = pipeline.compose.clusters.measured()
    largest = clusters[Metric.CLUSTER_DOCUMENTS]
    assert isinstance(largest, dict)
    return {
        **pipeline.ledger.measured(),
        **pipeline.held.measured(),
        **pipeline.indices.measured(),
        **pipeline.compose.retraining.measured(),
        **clusters,
        **pipeline.compose.bandit.measured(list(largest)[:MAX_CLUSTERS]),
    }


def _joined(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate(parts) if parts else np.zeros(0)


def _free_bytes(folder: Path | None) -> Gauges:
    """The room on the disk of the state."""
    if folder is None:
        return {}
    found = os.statvfs(folder)
    return {Metric.STATE_FREE_BYTES: found.f_bavail * found.f_frsize}
