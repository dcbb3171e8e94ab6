"""The terminal: where commands write text, how long its operator waits, and how a command that was stopped ends.

Text of documents may hold anything, and is escaped here.
"""

from __future__ import annotations

import click

from curatord.printable import printable

PATIENCE_S = 10.0  # of an operator, for one answer
INTERRUPTED = 130  # exit code: 128 + SIGINT


def show(*lines: str, err: bool = False) -> None:
    """Write lines, to standard output or standard error. A line stays one."""
    click.echo("\n".join(map(printable, lines)), err=err)
