"""`curatord curate` over a document that ends the process: the third run sets it aside, and goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
from click.testing import CliRunner

from daemon.cli import cli
from tests.daemon.test_kill import CONFIG, files_of
from tests.deadly import WORD
from tests.simulation.world import make_rows

NUM_ROWS = 700


def deadly(name: str) -> bytes:
    return msgspec.json.encode({"id": name, "text": f"the {WORD} is a mushroom of {name} that kills"})


def write_input(folder: Path, at: dict[int, bytes]) -> None:
    lines = [row.value for row in make_rows(5, NUM_ROWS) if isinstance(row.value, bytes)]
    for row, line in at.items():
        lines[row] = line
    (folder / "in.jsonl").write_bytes(b"\n".join(lines))
    (folder / "c.toml").write_text(CONFIG.replace("epoch_documents = 40", "epoch_documents = 100"))


def curate(folder: Path, output: Path, way: str) -> subprocess.CompletedProcess[str]:
    command = ["curate", str(folder / "in.jsonl"), "-o", str(output), "-c", str(folder / "c.toml"), "--json"]

    return subprocess.run(
        [sys.executable, "-m", "tests.deadly", way, *command],
        capture_output=True,
        text=True,
    )


# Killed, then out of memory, then once more; what the runs end with.
WAYS = ("kill", "memory", "memory")
CODES = [-9, 1, 0]


def test_the_third_run_sets_the_document_aside_and_everything_else_is_as_without_it(tmp_path: Path) -> None:
    unread = tmp_path / "unread"
    unread.mkdir()
    write_input(unread, {333: b"{"})
    assert curate(unread, unread / "out", "kill").returncode == 0
    write_input(tmp_path, {333: deadly("d333")})
    output = tmp_path / "out"

    lives = [curate(tmp_path, output, way) for way in WAYS]

    assert [life.returncode for life in lives] == CODES, lives[-1].stderr
    assert files_of(output) == files_of(unread / "out")
    assert len(files_of(output)) > 3
    assert json.loads(lives[-1].stdout)["ledger"]["dead"]["took_process_down"] == 1
    assert f"Row 333 of {tmp_path}/in.jsonl ended the processes" in lives[-1].stderr
    listed = CliRunner().invoke(
        cli, ["dead-letters", "list", "-o", str(output), "--reason", "took_process_down", "--json"]
    )
    (letter,) = json.loads(listed.output)["newest"]["took_process_down"]
    assert letter["position"] == 333
    assert "MemoryError" in letter["message"]
    shown = CliRunner().invoke(cli, ["dead-letters", "show", letter["place"], "-o", str(output), "--raw"])
    assert shown.stdout_bytes == deadly("d333")
