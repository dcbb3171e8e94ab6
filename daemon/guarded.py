"""A command under guard: an error of ours, a full disk, or an interrupt ends it with one message and its exit code."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from typing import Any

import click

from curatord.errors import CuratordError
from curatord.printable import printable
from daemon.commands.screen import INTERRUPTED


def run_guarded(command: Callable[..., Any]) -> None:
    """Run a command and turn our errors into a message and an exit code."""
    try:
        sys.exit(command(prog_name="curatord", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort as error:  # a question without an answer, or what click makes of an interrupt
        is_interrupt = isinstance(error.__context__, KeyboardInterrupt)
        click.echo("curatord: interrupted" if is_interrupt else "Aborted!", err=True)
        sys.exit(INTERRUPTED if is_interrupt else 1)
    except CuratordError as error:
        click.echo(f"curatord: {printable(str(error), keep=chr(10))}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise
        where = f" ({printable(str(error.filename))})" if error.filename else ""
        click.echo(
            f"curatord: {error.strerror}{where}. Everything committed is safe; make room and run the command again",
            err=True,
        )
        sys.exit(1)
