"""The example of a training loop: stopped under one number of ranks and resumed under another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from examples import tiny_trainer
from tests.curatord.streams import add_shard, write_manifest
from tests.integration.maven_broker import free_ports

STEPS, BATCH = 3, 8


def train(folder: Path, steps: int, ranks: int = 1) -> None:
    """To so many steps; one rank in this process, which need not import everything again."""
    arguments = [str(folder / "data"), "--vocabulary=1024", "--context-length=32", f"--steps={steps}"]
    arguments += [f"--checkpoint={folder / 'model.pt'}", f"--log={folder / 'log.jsonl'}"]
    if ranks == 1:
        tiny_trainer.train(tiny_trainer.parser().parse_args(arguments), 0, 1)
        return
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "examples.tiny_trainer", *arguments]
    world = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [subprocess.Popen(command, env={**os.environ, **world, "RANK": str(rank)}) for rank in range(ranks)]
    assert [process.wait(120) for process in started] == [0] * ranks


def log(folder: Path) -> list[dict[str, Any]]:
    paths = sorted(folder.glob("log.*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def prepared(folder: Path) -> Path:
    add_shard(folder / "data", 0, 2 * STEPS * BATCH)
    write_manifest(folder / "data", ends=[2 * STEPS * BATCH])
    return folder


def test_the_global_batches_go_on_under_another_number_of_ranks(tmp_path: Path) -> None:
    folder = prepared(tmp_path)

    train(folder, STEPS)
    train(folder, 2 * STEPS, ranks=2)

    lines = log(folder)
    for step in range(2 * STEPS):
        of_step = [line for line in lines if line["step"] == step]
        assert len(of_step) == (1 if step < STEPS else 2)
        assert sorted(number for line in of_step for number in line["seq_nos"]) == list(
            range(step * BATCH, (step + 1) * BATCH)
        )
        assert len({line["loss"] for line in of_step}) == 1  # ranks agree on it


def test_a_run_that_is_resumed_is_the_run_that_was_not_stopped(tmp_path: Path) -> None:
    whole, parts = prepared(tmp_path / "whole"), prepared(tmp_path / "parts")

    train(whole, 2 * STEPS)
    train(parts, STEPS)
    train(parts, 2 * STEPS)

    assert [line["loss"] for line in log(parts)] == [line["loss"] for line in log(whole)]
