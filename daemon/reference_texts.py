"""Texts of files that a configuration or a command names beside its input, in any form that `curate` reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from consumers.broker import RawDocument
from consumers.files.inputs import expand
from consumers.files.readers import read_rows
from consumers.formats.documents import Arrivals, Documents, decode_rows
from consumers.formats.input_config import InputConfig
from curatord.errors import ConfigError, UsageError
from curatord.records import DeadLetter
from daemon.pages import page_reader

ROWS = 1024


def arrivals_in(arguments: Sequence[str], config: InputConfig) -> Iterator[Arrivals]:
    """The rows of files, folders and patterns, decoded in parts. Raises `UsageError` for what is no input."""
    read_page = page_reader(config)
    for file in expand(list(arguments)):
        for block in read_rows(file, 0, config):
            rows = [RawDocument(file.uri, row.position, row.value, row.original) for row in block]
            for first in range(0, len(rows), ROWS):
                yield decode_rows(rows[first : first + ROWS], 0, config, 0, read_page)


def documents_of(arguments: Sequence[str], config: InputConfig, option: str) -> list[Documents]:
    """The documents of files, folders and patterns, in parts. `option` is what a refusal names.

    Raises `ConfigError` for any row that cannot be read, which would be lost silently, and where no document is.
    """
    if not all(arguments):
        raise ConfigError(f'{option}: "" is no file: name one, or a folder')
    parts: list[Documents] = []
    dead: list[DeadLetter] = []
    try:
        for arrivals in arrivals_in(arguments, config):
            parts.append(arrivals.documents)
            dead += [other for other in arrivals.others.values() if isinstance(other, DeadLetter)]
    except UsageError as error:
        raise ConfigError(f"{option}: {error}") from error
    if dead:
        count = "1 row" if len(dead) == 1 else f"{len(dead):,} rows"
        raise ConfigError(
            f"{option}: {count} cannot be read, the first in {dead[0].source} at row {dead[0].position:,}: "
            f"{dead[0].message}. Repair the file, or leave such rows out"
        )
    if not sum(map(len, parts)):
        raise ConfigError(f"{option}: no document is in {', '.join(arguments)}")
    return parts


def texts_of(arguments: Sequence[str], config: InputConfig, option: str) -> list[str]:
    """Their texts."""
    return [text for documents in documents_of(arguments, config, option) for text in documents.texts]
