"""`curatord curate` under kill -9 at any moment: the same bytes come out."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq

from tests.simulation.world import make_rows

NUM_KILLS = 20
NUM_ROWS = 12_000
CONFIG = """
[daemon]
epoch_documents = 40
[output]
holdout = 0.05
[embedding]
warmup_documents = 64
retrain_drop = 1.0
[clusters]
min_clusters = 2
initial_clusters = 4
[weights]
by = ["commonness"]
memory_mib = 1
after_tokens = 5000
[packing]
context_length = 512
pool_documents = 100
shuffle_block_rows = 32
"""


def files_of(output: Path) -> dict[str, bytes]:
    """Everything that a reader of the output sees."""
    return {str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("*.parquet"))}


def start(folder: Path, output: Path) -> subprocess.Popen[bytes]:
    command = ["curate", str(folder / "in.jsonl"), "-o", str(output), "-c", str(folder / "c.toml"), "--json"]
    command += ["--verdicts", f"{output}-verdicts"]
    with (folder / "errors").open("wb") as errors:
        return subprocess.Popen([sys.executable, "-m", "curatord", *command], stdout=subprocess.DEVNULL, stderr=errors)


def wait_for_commit(process: subprocess.Popen[bytes], state: Path) -> None:
    """Until the state on disk changes, or the process ends."""

    def size() -> int:
        total = 0
        for path in state.glob("*.log"):
            with suppress(FileNotFoundError):  # the database removes what it has flushed
                total += path.stat().st_size
        return total

    while process.poll() is None and not list(state.glob("*.log")):
        time.sleep(0.01)
    time.sleep(0.3)  # opening writes, too
    before = size()
    while process.poll() is None and size() == before:
        time.sleep(0.005)


def test_twenty_kills_at_random_moments_leave_no_trace(tmp_path: Path) -> None:
    lines = [row.value for row in make_rows(5, NUM_ROWS) if isinstance(row.value, bytes)]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    (tmp_path / "c.toml").write_text(CONFIG)
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert start(tmp_path, undisturbed).wait() == 0
    rng = random.Random(0)
    num_kills = 0
    while num_kills < NUM_KILLS:
        process = start(tmp_path, killed)
        if num_kills % 4 == 3:
            time.sleep(rng.uniform(0.2, 3.0))  # somewhere in its start
        else:
            wait_for_commit(process, killed / ".curatord" / "state")
            time.sleep(rng.uniform(0.0, 0.15))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the input is too short for so many kills"
        num_kills += 1

    assert start(tmp_path, killed).wait() == 0, (tmp_path / "errors").read_text()

    assert files_of(killed) == files_of(undisturbed)
    verdicts = files_of(tmp_path / "killed-verdicts")
    assert verdicts == files_of(tmp_path / "undisturbed-verdicts")
    assert verdicts
    assert len(files_of(undisturbed)) > 10
    shards = [path for path in undisturbed.rglob("*.parquet") if "weights" in pq.read_schema(path).names]
    weights = {weight for path in shards for row in pq.read_table(path)["weights"].to_pylist() for weight in row}
    assert len(weights) > 100
