"""The examples run, each as docs/trainers.md names it."""

from __future__ import annotations

import json
import runpy
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"

pytestmark = [
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning"),  # TRL's own default
]


Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs an example as a command would; gives what it printed."""

    def run(name: str, *arguments: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_pytorch_loop(run: Run, folder: Path, tmp_path: Path) -> None:
    assert "the next sequence is 4\n" in run("pytorch_loop.py", folder, tmp_path / "checkpoint.pt", "2")
    assert "the next sequence is 10\n" in run("pytorch_loop.py", folder, tmp_path / "checkpoint.pt", "3")


@pytest.mark.parametrize(("name", "rows"), [("hf_trainer.py", 2), ("trl_sft.py", 2)])
def test_trainers(run: Run, folder: Path, tmp_path: Path, name: str, rows: int) -> None:
    run(name, folder, tmp_path, "2")
    run(name, folder, tmp_path, "4")

    state = json.loads((tmp_path / "checkpoint-4" / "curatord_stream.json").read_text())
    assert state["next_seq_no"] == 4 * rows


def test_torchtitan_source(run: Run, folder: Path) -> None:
    pytest.importorskip("torchtitan.components.dataloader", reason="torchtitan is not installed")

    assert '"next_seq_no": 4' in run("torchtitan_source.py", folder, "32")


def test_megatron_batch(run: Run, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # megatron-core's own
        printed = run("megatron_batch.py", folder)

    assert printed.count(" tokens in ") == 2
