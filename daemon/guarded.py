"""A command under guard: an error of ours, or a full disk, ends it with one message and its exit code."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from typing import Any

import click

from curatord.errors import CuratordError
from curatord.printable import printable


def run_guarded(command: Callable[..., Any]) -> None:
    """Run a command and turn our errors into a message and an exit code."""
    try:
        command(prog_name="curatord")
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
