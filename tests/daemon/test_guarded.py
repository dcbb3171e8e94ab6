"""Errors of ours end a command with one line and their exit code; others stay what they are."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from curatord.errors import ConfigError
from daemon.guarded import run_guarded
from tests.daemon.commands.test_screen import is_harmless
from tests.integration.world import wait_until


def raising(error: BaseException) -> Any:
    def command(prog_name: str, *, standalone_mode: bool) -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("an unknown key"), ConfigError.exit_code, "curatord: an unknown key\n"),
        (OSError(errno.ENOSPC, "No space left on device", "out"), 1, "make room and run the command again\n"),
    ],
)
def test_an_error_that_has_a_remedy_is_one_line_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_guarded(raising(error))

    assert ended.value.code == code
    assert capsys.readouterr().err.endswith(said)


def test_an_error_that_nothing_is_known_of_keeps_its_trace() -> None:
    with pytest.raises(OSError, match="Input/output"):
        run_guarded(raising(OSError(errno.EIO, "Input/output error")))


def test_an_error_is_shown_escaped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from daemon.cli import cli

    monkeypatch.setattr("sys.argv", ["curatord", "dead-letters", "show", "\x1b[2J\u202e", "-o", "/nowhere\x1b[31m"])
    with pytest.raises(SystemExit):
        run_guarded(cli)
    captured = capsys.readouterr()
    assert captured.err.startswith("curatord: ")
    assert is_harmless(captured.out + captured.err)


def test_an_interrupt_ends_any_command_with_130_and_one_line(tmp_path: Path) -> None:
    documents = tmp_path / "documents.jsonl"
    documents.write_text("".join(f'{{"text": "document number {n} of many"}}\n' for n in range(300_000)))
    fit = [sys.executable, "-m", "curatord", "quality", "fit", "--good", str(documents), "--bad", str(documents)]
    child = subprocess.Popen(fit, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    opened = Path(f"/proc/{child.pid}/fd")
    wait_until(
        lambda: any(os.path.realpath(file) == str(documents) for file in opened.glob("*")), "the file to be read"
    )
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130
    assert said.strip().splitlines()[-1] == "curatord: interrupted"


def test_a_question_without_an_answer_is_no_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_guarded(raising(click.Abort()))
    assert ended.value.code == 1
    assert capsys.readouterr().err == "Aborted!\n"
