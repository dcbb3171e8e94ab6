"""The function behind `curatord.prepare`: a table of documents to one of prepared rows."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from consumers.broker import RawDocument
from consumers.formats.tables import documents_of
from curatord.errors import UsageError
from daemon.config import load_config
from daemon.prepared.preparer import Preparer, open_preparer

INPUT, POSITION = "input", "position"


@lru_cache(maxsize=4)
def _opened(config: str | None) -> tuple[Preparer, Any]:
    """Once a process."""
    loaded = load_config(None if config is None else Path(config))
    return open_preparer(loaded), loaded


def prepare_batch(batch: Any, config: str | None) -> Any:
    """As `curatord.prepare` says."""
    import pyarrow as pa

    if isinstance(batch, pa.Table):
        schema = prepare_batch(pa.RecordBatch.from_pylist([], batch.schema), config).schema
        return pa.Table.from_batches([prepare_batch(part, config) for part in batch.to_batches()], schema)
    preparer, loaded = _opened(config)
    rows = _rows(batch, loaded.input) if len(batch) else []
    return preparer.prepare(rows)


def _rows(batch: Any, config: Any) -> list[RawDocument]:
    import pyarrow as pa

    names = batch.schema.names
    if POSITION not in names or not pa.types.is_integer(batch.schema.field(POSITION).type):
        raise UsageError(
            f"a table to prepare has a column {POSITION!r} of whole numbers, the place of each document among those of "
            f"its {INPUT!r}; this one has: {', '.join(names)}"
        )
    positions = batch.column(POSITION).to_pylist()
    if None in positions:
        raise UsageError(f"the column {POSITION!r} has no value in some rows")
    inputs = batch.column(INPUT).to_pylist() if INPUT in names else [""] * len(batch)
    values = list(documents_of(batch, config.fields, config.max_document_bytes))
    return [
        RawDocument(source or "", position, value)
        for source, position, value in zip(inputs, positions, values, strict=True)
    ]
