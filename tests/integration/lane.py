"""A lane of real daemons on a real broker: topics, configuration, processes that a supervisor would restart."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families

from daemon.cli import cli
from tests.integration.world import PATIENCE_S, create_topics

TOPICS = ("documents", "prepared", "sequences", "dead_letters", "feedback", "probes", "journal", "artifacts")
NEVER_RESTARTED = {65, 78}  # as in the unit file
MAX_RECORD_BYTES = 8 << 20


@dataclass(slots=True)
class Lane:
    """Names and settings that all instances share."""

    bootstrap: str
    prefix: str
    folder: Path
    settings: str = ""  # further sections, in TOML
    session_timeout_s: float = 3.0
    snapshot_dir: Path | None = None
    is_prepared: bool = False  # whether workers stand before it
    is_scored: bool = False  # whether it asks scorers for rewards
    variants: dict[str, str] = field(default_factory=dict)  # settings of single instances
    topics: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        off = {"prepared": not self.is_prepared, "probes": not self.is_scored}
        names = [name for name in TOPICS if not off.get(name)]
        self.topics = {name: f"{self.prefix}-{name.replace('_', '-')}" for name in names}

    def create_topics(self, partitions: int = 1) -> None:
        create_topics(
            self.bootstrap,
            {topic: partitions if name in ("documents", "prepared") else 1 for name, topic in self.topics.items()},
            {"max.message.bytes": str(MAX_RECORD_BYTES)},
        )

    def config(self, name: str, bootstrap: str) -> Path:
        """The file of one instance."""
        path = self.folder / f"{name}.toml"
        listed = "\n".join(f'{key} = "{topic}"' for key, topic in self.topics.items())
        snapshots = ""
        if self.snapshot_dir is not None:
            snapshots = f'snapshot_dir = "{self.snapshot_dir}"\nsnapshot_interval_s = 2.0'
        path.write_text(
            f"""
[kafka]
bootstrap_servers = "{bootstrap}"
lane = "{self.prefix}"
session_timeout_s = {self.session_timeout_s}
request_timeout_s = 10.0
transaction_timeout_s = 15.0
commit_timeout_s = 14.0
[topics]
{listed}
[state]
dir = "{self.folder / name / "state"}"
{snapshots}
[metrics]
listen = "127.0.0.1:0"
{self.variants.get(name, self.settings)}
"""
        )
        return path


@dataclass(slots=True)
class Instance:
    """One daemon, as its supervisor sees it."""

    lane: Lane
    name: str
    bootstrap: str
    program: tuple[str, ...] = ("curatord",)
    command: str = "run"
    arguments: tuple[str, ...] = ()
    exits: list[int] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    @property
    def log_path(self) -> Path:
        return self.lane.folder / f"{self.name}.log"

    def start(self) -> None:
        config = self.lane.config(self.name, self.bootstrap)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.program, self.command, "-c", str(config), *self.arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                cwd=Path(__file__).parents[2],
            )

    def supervise(self) -> None:
        """Start it again if it ended. Raises AssertionError if it ended in a way that no restart repairs."""
        if self.process is None:
            self.start()
        elif (code := self.process.poll()) is not None:
            self.exits.append(code)
            assert code not in NEVER_RESTARTED, f"{self.name} ended with {code}:\n{self.log_path.read_text()[-3000:]}"
            self.start()

    def send(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it, if it runs."""
        if self.process is not None:
            self.send(signal.SIGKILL)
            self.wait()

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        assert self.process is not None
        code = self.process.wait(timeout_s)
        self.exits.append(code)
        self.process = None
        return code

    def wipe(self) -> None:
        """Its disk is lost. Only while it does not run."""
        shutil.rmtree(self.lane.folder / self.name, ignore_errors=True)

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """Lines of its log, over all its lives."""
        found = []
        for line in self.log_path.read_bytes().splitlines() if self.log_path.exists() else ():
            with suppress(ValueError):
                event = json.loads(line)
                if (isinstance(event, dict) and event.get("event") == name) or not name:
                    found.append(event)
        return found

    def wait_for(self, name: str, timeout_s: float = PATIENCE_S, *, count: int = 1) -> dict[str, Any]:
        """The `count`th event of this name, when it is there."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = self.events(name)
            if len(found) >= count:
                return found[count - 1]
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(
                    f"{self.name} ended with {self.process.poll()}:\n{self.log_path.read_text()[-3000:]}"
                )
            time.sleep(0.05)
        raise AssertionError(
            f"{self.name} did not say {name} within {timeout_s} s:\n{self.log_path.read_text()[-3000:]}"
        )

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of its side door."""
        url = self.events("started")[-1]["listening"] + path
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """Sum of a metric over its labels."""
        _, text = self.get("/metrics")
        families = text_string_to_metric_families(text)
        return sum(sample.value for family in families for sample in family.samples if sample.name == name)

    def stop(self, timeout_s: float = PATIENCE_S) -> int:
        """TERM, and wait."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        return self.wait(timeout_s)


def run(*arguments: object) -> Result:
    """One of the commands, here and now."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])
