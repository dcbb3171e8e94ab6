"""Two processes train on one stream: each sequence is seen by one of them, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.curatord.adapters import test_huggingface, test_trl
from tests.curatord.adapters.streams import numbers, watch
from tests.curatord.adapters.test_huggingface import arguments, trainer_on

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def output(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the checkpoints of both ranks and the sequences that each saw."""
    output = tmp_path_factory.mktemp("ranks")
    launch = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "tests.curatord.adapters.two_ranks",
    ]
    done = subprocess.run(
        [sys.executable, *launch, str(folder), str(output)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return output


@pytest.fixture
def seen(output: Path) -> list[dict[str, Any]]:
    return [json.loads((output / f"rank-{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize(
    ("trainer", "first", "end"),
    [
        ("hf", 0, 3 * 2 * test_huggingface.STEP),
        ("hf again", 3 * 2 * test_huggingface.STEP, 5 * 2 * test_huggingface.STEP),
        ("trl", 0, 3 * 2 * test_trl.ROWS),
    ],
)
def test_ranks_share_the_stream(seen: list[dict[str, Any]], trainer: str, first: int, end: int) -> None:
    zero, one = (rank[trainer] for rank in seen)

    assert zero == list(range(first, end, 2))
    assert one == list(range(first + 1, end, 2))


@pytest.mark.parametrize("trap", ["dispatch", "whole", "swapped"])
def test_traps_of_several_ranks_are_refused(seen: list[dict[str, Any]], trap: str) -> None:
    assert [rank.get(trap) for rank in seen] == [True, True]


def test_one_rank_goes_on_where_two_stopped(output: Path, folder: Path) -> None:
    trainer = trainer_on(folder, arguments(output / "hf", max_steps=6))
    calls = watch(trainer.model)

    trainer.train(resume_from_checkpoint=str(output / "hf" / "checkpoint-5"))

    first = 5 * 2 * test_huggingface.STEP
    assert [n for call in calls for n in numbers(call["input_ids"])] == list(
        range(first, first + test_huggingface.STEP)
    )
