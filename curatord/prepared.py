"""Prepare: the work on documents that needs nothing but each of them, for engines that run on many machines."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from typing import Any

from curatord.root import application_root


def prepare(batch: Any, config: str | None = None) -> Any:
    """Prepare a pyarrow.RecordBatch or Table; the same kind comes out, with a row for each row. Pure.

    Its columns have the names of [input.fields] in the configuration file `config`, or the default ones. Beside them
    stand `position`, the place of each document among those of its `input`, and `input`, a name ("" without one): they
    are the order in which `curatord curate` takes the rows, and the id of a document that has none.

    Raises `UsageError` without a column `position` of whole numbers, `ConfigError`, ImportError without the packages
    of the extra `daemon`.
    """
    return _function()(batch, config)


@cache
def _function() -> Any:
    """That of the application, which an engine's process finds as the command does."""
    root = str(application_root())
    if root not in sys.path:
        sys.path.insert(0, root)
    return import_module("daemon.prepared.function").prepare_batch
