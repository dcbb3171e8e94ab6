"""Events: what happens to the service. Each is one function that moves the metrics, the health and the service
manager's status line together, and writes at most one line to the log. Told once a batch or an epoch, never once a
document.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from logging import ERROR, INFO, WARNING
from typing import TYPE_CHECKING

from ops.catalogue import Metric
from ops.epochs import EpochCommitted, Unlogged
from ops.health import Health, Status
from ops.log import MAX_TEXT, RateLimit
from ops.metrics import Metrics
from ops.readings import of_metric
from ops.systemd import ServiceManager

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

MAX_SOURCES = 8  # that a line names
LONGEST_SILENCE_S = {"scorer_failed": 3600.0}  # of events that may go on and on


class Events:
    """Where the service tells what happens. `clock` gives seconds since 1970."""

    def __init__(
        self,
        metrics: Metrics,
        log: FilteringBoundLogger,
        health: Health,
        manager: ServiceManager,
        *,
        limit: RateLimit | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.metrics = metrics
        self.health = health
        self._log, self._manager = log, manager
        self._limit = limit or RateLimit()
        self._clock = clock
        self._lane = ""
        self._unlogged = Unlogged()
        self._uncut_bytes = 0
        self._is_training = False

    def beat(self) -> None:
        """The loop moved: at every poll, and now and then in anything that takes long."""
        self.health.beat()
        self._manager.beat()
        self._log_epochs()

    def started(self, *, version: str, lane: str, config_hash: str, listening: str, open_files: int) -> None:
        """The process began, and looks for its cluster. It may have so many `open_files`."""
        self._lane = lane
        self.metrics.set(Metric.BUILD_INFO, {version: 1})
        self.metrics.set(Metric.CONFIG_INFO, {config_hash: 1})
        self.metrics.set(Metric.OWNER, {lane: 0})
        self._become(Status.CONNECTING, "connecting to the broker")
        self._log.info(
            "started", version=version, lane=lane, config=config_hash, listening=listening, open_files=open_files
        )

    def makes_no_vectors(self, why: str) -> None:
        """By the configuration, so clusters are not to be waited for."""
        self._log.info("makes_no_vectors", why=why)

    def standing_by(self, epoch: int) -> None:
        """Follows the journal of the owner, and has caught up with it."""
        self.metrics.set(Metric.OWNER, {self._lane: 0})
        self.metrics.set(Metric.EPOCH, epoch)
        self.metrics.set(Metric.RESTORE_REMAINING, 0)
        self._become(Status.STANDBY, f"standing by at epoch {epoch}")
        self._log.info("standing_by", epoch=epoch)

    def followed(self, epoch: int) -> None:
        """The standby took in an epoch of the owner. No line."""
        self.metrics.set(Metric.EPOCH, epoch)
        self.beat()

    def became_owner(self, epoch: int) -> None:
        """The lane is this process's; `epoch` is the last that the world has seen."""
        self.metrics.set(Metric.OWNER, {self._lane: 1})
        self._become(Status.TAKING_OVER, "taking over the lane")
        self._log.info("became_owner", epoch=epoch)

    def restoring(self, done: int, total: int, what: str = "epochs") -> None:
        """So much of the state was brought back; call it as often as it is known."""
        self.metrics.set(Metric.RESTORE_REMAINING, max(0, total - done))
        share = min(1.0, done / total) if total else 0.0
        self._become(Status.RESTORING, f"restoring {int(100 * share)} % ({done:,} of {total:,} {what})")
        self._often(INFO, "restoring", {"done": done, "total": total, "what": what})

    def restored(self, epoch: int, seconds: float) -> None:
        """The state is what the world has seen, and the work begins."""
        self.metrics.set(Metric.RESTORE_REMAINING, 0)
        self.metrics.add(Metric.RESTORES)
        self.metrics.set(Metric.EPOCH, epoch)
        self._become(Status.READY, f"curating from epoch {epoch}")
        self._log.info("restored", epoch=epoch, seconds=round(seconds, 3))

    def training(self, done: int, total: int, *, version: int) -> None:
        """Documents wait for the student after `version`; so many texts of its training are done. Call it often."""
        share = int(100 * done / max(1, total))
        self._is_training = True
        what = "training the next student" if version else "warming up"
        self._become(Status.READY, f"{what}, {share} %: documents wait")
        self._manager.beat()
        self._often(INFO, "training", {"version": version + 1, "share": share / 100, "done": done, "total": total})

    def epoch_committed(self, epoch: EpochCommitted) -> None:
        """One line in 10 s at most; it adds up the epochs since the line before."""
        if self._is_training:
            self._is_training = False
            self._become(Status.READY, f"curating, epoch {epoch.epoch}")
        self._count(epoch)
        outcomes, tokens = of_metric(Metric.DOCUMENTS, epoch.counts), of_metric(Metric.TOKENS, epoch.counts)
        unlogged = self._unlogged
        unlogged.latest = epoch
        unlogged.epochs += 1
        unlogged.numbers.update(
            documents=sum(outcomes.values()),
            **outcomes,
            sequences=epoch.counts.get((Metric.SEQUENCES,), 0),
            tokens=tokens.get("emitted", 0) + tokens.get("emitted_again", 0),
            journal_bytes=epoch.journal_bytes,
        )
        self.beat()

    def _log_epochs(self) -> None:
        """The line, if one is due: the last epochs before a silence get theirs at one of the beats after them."""
        unlogged, latest = self._unlogged, self._unlogged.latest
        if latest is None or self._limit.admit("epoch_committed") is None:
            return
        self._unlogged = Unlogged()
        self._manager.status(f"curating, epoch {latest.epoch}")
        self._log.info(
            "epoch_committed",
            epoch=latest.epoch,
            epochs=unlogged.epochs,
            **unlogged.numbers,
            held_documents=latest.gauges[Metric.HELD_DOCUMENTS],
            commit_s=round(latest.commit_s, 4),
        )

    def time_spent(self, phase_s: Mapping[str, float]) -> None:
        """Seconds of the loop since the last call, by phase. No line."""
        for phase, seconds in phase_s.items():
            self.metrics.add(Metric.LOOP_SECONDS, seconds, phase)

    def _count(self, epoch: EpochCommitted) -> None:
        metrics = self.metrics
        for (metric, *labels), amount in epoch.counts.items():
            metrics.add(metric, amount, *labels)
        for metric, value in epoch.gauges.items():
            metrics.set(metric, value)
        metrics.add(Metric.EPOCHS)
        metrics.set(Metric.EPOCH, epoch.epoch)
        metrics.observe(Metric.EPOCH_DOCUMENTS, sum(of_metric(Metric.DOCUMENTS, epoch.counts).values()))
        metrics.observe(Metric.COMMIT_SECONDS, epoch.commit_s)
        if epoch.transaction_s:
            metrics.observe(Metric.TRANSACTION_SECONDS, epoch.transaction_s)
        metrics.observe_all(Metric.DOCUMENT_AGE, epoch.received_ages_s, "received")
        metrics.observe_all(Metric.DOCUMENT_AGE, epoch.committed_ages_s, "committed")
        metrics.set(Metric.LAST_COMMIT, self._clock())
        metrics.add(Metric.JOURNAL_BYTES, epoch.journal_bytes)
        self._uncut_bytes += epoch.journal_bytes
        metrics.set(Metric.JOURNAL_UNCUT_BYTES, self._uncut_bytes)

    def lag_measured(self, lag: Mapping[str, float]) -> None:
        """Messages that wait, by partition. No line."""
        self.metrics.set(Metric.LAG, lag)

    def headroom_measured(self, *, run_id: str, safe_seq_no: int, retained_from: int) -> None:
        """The run that goes back furthest may need sequences from `safe_seq_no` on; there are those from the other."""
        self.metrics.set(Metric.RETENTION_HEADROOM, {self._lane: safe_seq_no - retained_from})
        if safe_seq_no < retained_from:
            fields = {"run_id": run_id[:MAX_TEXT], "safe_seq_no": safe_seq_no, "retained_from": retained_from}
            self._often(ERROR, "checkpoint_lost", fields, run_id)

    def places_measured(self, headroom: Mapping[str, int]) -> None:
        """Messages, by partition, from the first there is to the first whose tokens the journal does not hold.

        Below 0 retention was faster; they are written to the journal with the next commit.
        """
        self.metrics.set(Metric.PREPARED_HEADROOM, headroom)
        for source, messages in headroom.items():
            if messages < 0:
                self._often(WARNING, "places_cut", {"source": source, "messages": -messages}, source)

    def headroom_unneeded(self) -> None:
        """No run has said from where on it may still read. No line."""
        self.metrics.set(Metric.RETENTION_HEADROOM, {})

    def headroom_unknown(self, reason: str) -> None:
        """It cannot be told now from where on sequences are still there."""
        self._often(WARNING, "headroom_unknown", {"reason": reason[:MAX_TEXT]}, reason)

    def shared(self, num_partitions: int, *, scores: bool = False) -> None:
        """This worker prepares or scores so many partitions; none while others have them all."""
        self.metrics.set(Metric.SCORE_PARTITIONS if scores else Metric.PREPARED_PARTITIONS, num_partitions)
        self._become(Status.READY, f"{'scoring' if scores else 'preparing'} {num_partitions} partitions")
        self._often(INFO, "shared", {"partitions": num_partitions}, str(num_partitions))

    def prepared(self, *, rows: int, num_bytes: int) -> None:
        """So many rows were sent on in a message of that size, and are acknowledged. No line."""
        self.metrics.add(Metric.PREPARED_ROWS, rows)
        self.metrics.add(Metric.PREPARED_BYTES, num_bytes)
        self.beat()

    def scored(self, outcomes: Mapping[str, int]) -> None:
        """Requests were answered, or had no answer, by outcome. No line."""
        for outcome, number in outcomes.items():
            self.metrics.add(Metric.SCORED, number, outcome)
        self.beat()

    def archived(self, name: str, *, sequences: int) -> None:
        """A shard lies in the archive, with so many sequences."""
        self.metrics.add(Metric.ARCHIVED, sequences)
        self._become(Status.READY, f"archived {name}")
        self._log.info("archived", shard=name, sequences=sequences)

    def archive_measured(self, *, lag: int) -> None:
        """So many sequences on the topic are not in the archive yet. No line."""
        self.metrics.set(Metric.ARCHIVE_LAG, lag)
        self.beat()

    def checkpoint_loaded(self, *, version: int, folder: str) -> None:
        """Rewards are by this checkpoint from now on."""
        self.metrics.set(Metric.SCORE_CHECKPOINT, version / 1000)
        self._log.info("checkpoint_loaded", version=version, folder=folder)

    def scorer_failed(self, scorer: str, problem: str, *, is_waiting: bool = False) -> None:
        """A scorer has no checkpoint, or a function gave no numbers; it goes on without, or waits for the first one."""
        if is_waiting:
            self._become(Status.CONNECTING, problem)
        fields = {"scorer": scorer, "problem": problem[:MAX_TEXT]}
        self._often(INFO if is_waiting else ERROR, "scorer_failed", fields, scorer)
        self.beat()

    def stream_ended(self, *, generation: int, seq_no: int) -> None:
        """The end of the stream was asked for: all went out, and it is marked."""
        self._log.info("stream_ended", generation=generation, seq_no=seq_no)

    def idle_flushed(self, *, idle_s: float, sequences: int) -> None:
        """No input came for so long that everything held was let go."""
        self._log.info("idle_flushed", idle_s=round(idle_s, 1), sequences=sequences)

    def dead_letters_written(self, reasons: Mapping[str, int]) -> None:
        """Rows that could not be read. Their metric moves with the epoch."""
        see = "curatord dead-letters list"
        fields = {"documents": sum(reasons.values()), "reasons": dict(reasons), "see": see}
        self._often(WARNING, "dead_letters_written", fields)

    def input_unreadable(self, *, source: str, rows: int, dead: int, reason: str, example: str) -> None:
        """More than a tenth of the last rows of one input could not be read."""
        fields = {
            "source": source[:MAX_TEXT],
            "rows": rows,
            "dead": dead,
            "reason": reason,
            "example": example[:MAX_TEXT],
        }
        self._often(WARNING, "input_unreadable", fields, source)

    def life_cut_short(self, *, sources: Sequence[str], ends: int, ended: str) -> None:
        """The process before ended in the middle of rows of these sources; so many did, one after another."""
        self._log.warning("life_cut_short", sources=list(sources[:MAX_SOURCES]), ends=ends, ended=ended[:MAX_TEXT])

    def set_aside(self, source: str, position: int, how: str) -> None:
        """A row or message ended two lives and a trial: it becomes a dead letter."""
        self.metrics.add(Metric.SET_ASIDE)
        fields = {"source": source[:MAX_TEXT], "position": position, "how": how[:MAX_TEXT]}
        self._often(ERROR, "set_aside", fields, f"{source}:{position}")

    def student_trained(self, *, version: int, **taught: object) -> None:
        """A version of the student embeds from now on. `taught`: how, by which teachers, a package to `install`."""
        self._log.log(WARNING if "install" in taught else INFO, "student_trained", version=version, **taught)

    def tokenizer_chosen(self, *, library: str, slow_because: str) -> None:
        """This library makes ids from now on, the same as any other would; `slow_because` is for the slow ones."""
        if slow_because:
            self._log.warning("tokenizer_slow", library=library, because=slow_because[:MAX_TEXT])
        else:
            self._log.info("tokenizer_chosen", library=library)

    def removal_surge(self, *, source: str, rate: float, usual_rate: float) -> None:
        """A source suddenly loses far more near-duplicates than it used to."""
        self.metrics.add(Metric.REMOVAL_SURGES)
        fields = {"source": source[:MAX_TEXT], "rate": round(rate, 4), "usual_rate": round(usual_rate, 4)}
        self._often(WARNING, "removal_surge", fields, source)

    def feedback_applied(self, outcomes: Mapping[str, int]) -> None:
        """Messages of trainers and scorers in this epoch, by outcome. Their metric moves with the epoch."""
        self._often(INFO, "feedback_applied", outcomes)

    def snapshot_written(self, *, epoch: int, num_bytes: int, seconds: float) -> None:
        """A snapshot was made, and read back."""
        self.metrics.add(Metric.SNAPSHOTS)
        self.metrics.set(Metric.SNAPSHOT_BYTES, num_bytes)
        self.metrics.set(Metric.SNAPSHOT_SECONDS, seconds)
        self.metrics.set(Metric.LAST_SNAPSHOT, self._clock())
        self._log.info("snapshot_written", epoch=epoch, bytes=num_bytes, seconds=round(seconds, 3))

    def snapshot_failed(self, reason: str) -> None:
        """A snapshot could not be made. The work goes on; the journal is not cut."""
        self.metrics.add(Metric.SNAPSHOT_FAILURES)
        self._often(ERROR, "snapshot_failed", {"reason": reason[:MAX_TEXT]}, reason)

    def journal_truncated(self, *, before_epoch: int, before_offset: int) -> None:
        """The journal was cut behind the older of two snapshots."""
        self.metrics.add(Metric.JOURNAL_CUTS)
        self._uncut_bytes = 0
        self.metrics.set(Metric.JOURNAL_UNCUT_BYTES, 0)
        self._log.info("journal_truncated", before_epoch=before_epoch, before_offset=before_offset)

    def journal_not_cut(self, reason: str) -> None:
        """The broker refused to cut the journal. It grows, and is cut after the next snapshot if it can be then."""
        self._often(ERROR, "journal_not_cut", {"reason": reason[:MAX_TEXT]}, reason)

    def broker_away(self, reason: str) -> None:
        """The broker cannot be reached; this process waits. Call it at every attempt."""
        if self.health.broker_away(reason[:MAX_TEXT]):
            self.metrics.add(Metric.BROKER_OUTAGES)
        self._show()
        self.beat()
        self._often(WARNING, "broker_away", {"reason": reason[:MAX_TEXT]}, reason)

    def broker_back(self) -> None:
        """The broker answers. Nothing if it had not been away."""
        if self.health.broker_back():
            self._show()
            self._log.info("broker_back")

    def draining(self, signal_name: str) -> None:
        """A stop was asked for: the open epoch is committed, what is held stays held."""
        self.health.become(Status.DRAINING, f"draining after {signal_name}")
        self._show()
        self._manager.stopping("draining")
        self._log.info("draining", signal=signal_name)

    def stopped(self, *, exit_code: int, reason: str = "") -> None:
        """The process ends; with a reason if it was not asked to."""
        self.metrics.set(Metric.OWNER, {self._lane: 0})
        self._manager.stopping(reason or "stopped")
        left, self._unlogged = self._unlogged, Unlogged()
        fields = {"exit_code": exit_code, "epochs": left.epochs, **left.numbers}
        if exit_code:
            self._log.error("stopped", reason=reason[:MAX_TEXT], **fields)
        else:
            self._log.info("stopped", **fields)

    def config_checked(self, *, changed: Sequence[str], problem: str = "") -> None:
        """The file was looked at again, on HUP: what a restart would change, or why it would fail."""
        if problem:
            self._log.error("config_checked", problem=problem[:MAX_TEXT])
        else:
            self._log.info("config_checked", changed=list(changed), takes_effect="at the next start")

    def options_differ(self, options: Sequence[str]) -> None:
        """Options are not those that documents were decided with; they count for new documents only."""
        self._log.warning("options_differ", options=list(options), counts_for="documents that come from now on")

    def _become(self, status: Status, reason: str) -> None:
        self.health.become(status, reason)
        self._show()

    def _show(self) -> None:
        """Report the present health, as metric and to the service manager."""
        readiness = self.health.readiness()
        self.metrics.set(Metric.STATUS, {status.value: float(status is readiness.status) for status in Status})
        if readiness.is_ready:
            self._manager.ready(readiness.reason)
        else:
            self._manager.status(readiness.reason)

    def _often(self, level: int, event: str, fields: Mapping[str, object], reason: str = "") -> None:
        """A line for what may happen often: limited by event and reason."""
        suppressed = self._limit.admit(event, reason, longest_s=LONGEST_SILENCE_S.get(event, 0.0))
        if suppressed is not None:
            self._log.log(level, event, **fields, **({"suppressed": suppressed} if suppressed else {}))
