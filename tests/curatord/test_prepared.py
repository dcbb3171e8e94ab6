"""`curatord.prepare` gives what `curate` makes of the same rows, in any table, on any engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pytest

import curatord
from consumers.broker import RawDocument
from consumers.files.prepared_folder import inputs_of, read_prepared
from daemon.config import Config
from daemon.prepared.preparer import open_preparer

DOCUMENTS = [{"id": f"d{n}", "text": f"document {n} of some words, each with a number: {n * 7}"} for n in range(600)]


def expected() -> pa.RecordBatch:
    rows = [RawDocument("", at, json.dumps(document).encode()) for at, document in enumerate(DOCUMENTS)]
    return open_preparer(Config()).prepare(rows)


def test_a_table_gives_the_rows_that_lines_of_json_give() -> None:
    table = pa.Table.from_pylist([{**document, "position": at} for at, document in enumerate(DOCUMENTS)])

    prepared = curatord.prepare(table)

    assert prepared.combine_chunks().to_batches()[0].equals(expected(), check_metadata=True)
    assert curatord.prepare(table.slice(0, 0)).num_rows == 0
    assert curatord.prepare(table.to_batches()[0]).schema == prepared.schema


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install ray")
def test_ray_prepares_in_two_processes_what_one_would(tmp_path: Path) -> None:
    (tmp_path / "documents.jsonl").write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    example = Path(__file__).parents[2] / "examples" / "prepare_ray.py"
    arguments = ["", str(tmp_path / "documents.jsonl"), str(tmp_path / "rows")]
    code = f"import ray, runpy, sys; sys.argv[:] = {arguments}; ray.init(num_cpus=2); "
    command = [sys.executable, "-c", f"{code}runpy.run_path({str(example)!r}, run_name='__main__')"]

    subprocess.run(command, check=True, env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}, cwd=example.parents[1])

    identity = open_preparer(Config()).identity
    (file,) = inputs_of(tmp_path / "rows")
    rows = [row for block in read_prepared(file, 0, identity) for row in block]
    assert [row.position for row in rows] == list(range(len(DOCUMENTS)))
    batches = [block[0].value.batch for block in read_prepared(file, 0, identity)]  # type: ignore[union-attr]
    assert pa.Table.from_batches(batches).combine_chunks().to_batches()[0].equals(expected())
