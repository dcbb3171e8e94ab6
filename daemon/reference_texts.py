"""Texts of files that a configuration or a command names beside its input, in any form that `curate` reads."""

from __future__ import annotations

from collections.abc import Sequence

from consumers.broker import RawDocument
from consumers.files.inputs import expand
from consumers.files.readers import read_rows
from consumers.formats.documents import Documents, decode_rows
from consumers.formats.input_config import InputConfig
from curatord.errors import ConfigError, UsageError

ROWS = 1024


def documents_of(arguments: Sequence[str], config: InputConfig, option: str) -> list[Documents]:
    """The documents of files, folders and patterns, in parts. `option` is what a refusal names.

    Raises `ConfigError` for what cannot be read, or holds no document at all.
    """
    parts: list[Documents] = []
    dead = 0
    try:
        for file in expand(list(arguments)):
            for block in read_rows(file, 0, config):
                rows = [RawDocument(file.uri, row.position, row.value, row.original) for row in block]
                for first in range(0, len(rows), ROWS):
                    arrivals = decode_rows(rows[first : first + ROWS], 0, config, 0)
                    parts.append(arrivals.documents)
                    dead += len(arrivals.others)
    except UsageError as error:
        raise ConfigError(f"{option}: {error}") from error
    if not sum(map(len, parts)):
        raise ConfigError(f"{option}: no document is in {', '.join(arguments)} ({dead:,} rows cannot be read)")
    return parts


def texts_of(arguments: Sequence[str], config: InputConfig, option: str) -> list[str]:
    """Their texts."""
    return [text for documents in documents_of(arguments, config, option) for text in documents.texts]
