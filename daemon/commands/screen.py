"""The screen: where the commands write text. What comes from documents may hold anything, and is escaped here."""

from __future__ import annotations

import click

from curatord.printable import printable


def show(*lines: str, err: bool = False) -> None:
    """Write lines, to standard output or standard error. A line stays one, whatever is in it."""
    click.echo("\n".join(map(printable, lines)), err=err)
