"""Errors of ours end a command with one line and their exit code; others stay what they are."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from curatord.errors import ConfigError
from daemon.guarded import run_guarded
from tests.daemon.commands.test_screen import is_harmless


def raising(error: BaseException) -> Any:
    def command(prog_name: str) -> None:
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
