"""Small files and messages that unpack to much: what they take in memory is bounded, each in a process of its own."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

MAX_RSS_KB = 1152 << 10  # 1 GiB, and what Python, Arrow and the compiled kernels take

# What `curate` does up to the stages: poll after poll, every row decoded, nothing kept.
READ = """
import re, sys
from consumers.broker import MAX_POLL_BYTES, RawDocument, row_bytes
from consumers.formats.documents import decode_rows
from consumers.files.inputs import expand
from consumers.formats.input_config import InputConfig
from consumers.formats.messages import rows_of
from consumers.files.readers import read_rows
from curatord.records import Document
config = InputConfig()
documents = dead = waiting = 0
rows = []
def decide():
    global documents, dead, waiting
    arrivals = decode_rows(rows, 0, config, 1024)
    documents += len(arrivals.documents)
    dead += len(arrivals.others)
    rows.clear()
    waiting = 0
if sys.argv[2] == "message":
    value = open(sys.argv[1], "rb").read()
    rows += rows_of("s-0", 0, None, value, (), 0, config)
else:
    (file,) = expand([sys.argv[1]])
    for found in read_rows(file):
        for row in found:
            rows.append(RawDocument(file.uri, row.position, row.value, row.original))
            waiting += row_bytes(rows[-1])
            if waiting >= MAX_POLL_BYTES or len(rows) >= 256:
                decide()
decide()
# The peak of getrusage would be that of the process that started this one, if it was larger.
print(documents, dead, re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""

BIG = "x" * 2_000_000


def repeated(rows: int = 1500) -> pa.Array:
    """One value of 2 MB in as many rows, four bytes each."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), [BIG])


def parquet(columns: dict[str, Any], **options: Any) -> Callable[[Path], None]:
    return lambda path: pq.write_table(pa.table(columns), path, compression="zstd", **options)


def in_struct(rows: int) -> pa.Array:
    return pa.StructArray.from_arrays([repeated(rows)], ["a"])


def arrow(columns: dict[str, Any], batches: int = 1) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        table = pa.table(columns)
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            for _ in range(batches):
                writer.write_table(table)
        path.write_bytes(sink.getvalue())

    return write


def packed(start: bytes, piece: bytes, times: int, end: bytes = b"") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with gzip.open(path, "wb", 1) if path.suffix == ".gz" else zstandard.open(path, "wb") as file:
            file.write(start)
            for _ in range(times):
                file.write(piece)
            file.write(end)

    return write


SHORT = ["short"] * 1500
MEGABYTE = 1 << 20
# name, writer, documents, dead letters; None where it depends on how much of it may be read
BOMBS: dict[str, tuple[str, Callable[[Path], None], int | None]] = {
    "a dictionary of one large value": ("a.parquet", parquet({"text": repeated()}), 1500),
    "the same without Arrow's schema": ("a.parquet", parquet({"text": repeated()}, store_schema=False), 1500),
    "a large value beside the text": (
        "a.parquet",
        parquet({"text": SHORT, "url": repeated()}, store_schema=False),
        1500,
    ),
    "a large id": ("a.parquet", parquet({"text": SHORT, "id": repeated()}, store_schema=False), 1500),
    "a struct of it": ("a.parquet", parquet({"text": SHORT, "source": in_struct(1500)}, store_schema=False), 1500),
    "prefixes": (
        "a.parquet",
        parquet({"text": [BIG] * 40}, use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"}),
        40,
    ),
    "one page of 300 MB": ("a.parquet", parquet({"text": ["x" * MEGABYTE] * 300}, use_dictionary=False), 0),
    "a line of gigabytes": ("a.jsonl.gz", packed(b'{"text":"', b"x" * MEGABYTE, 1200, b'"}'), 0),
    "an array of nothing": ("a.json.gz", packed(b"[", b"1," * (MEGABYTE >> 3), 1, b"1]"), 0),
    "a record of lists": ("a.jsonl.zst", packed(b'{"text":"a","x":[', b"[]," * MEGABYTE, 20, b"1]}\n"), 1),
    "a record of records": ("a.jsonl.zst", packed(b'{"text":"a","x":', b'{"a":' * MEGABYTE, 1, b"1}\n"), 0),
    "a text of gigabytes": ("a.txt.gz", packed(b"", b"x" * MEGABYTE, 1200), 0),
    "an Arrow file": ("a.arrow", arrow({"text": ["x" * MEGABYTE] * 300}), 0),
    "an Arrow file of a dictionary": ("a.arrow", arrow({"text": repeated()}), 1500),
    "an Arrow message": ("message", arrow({"text": ["x" * MEGABYTE] * 300}), 0),
    "an Arrow message of many batches": ("message", arrow({"text": ["x" * MEGABYTE] * 30}, batches=40), None),
    "an Arrow message of a dictionary": ("message", arrow({"text": repeated()}), None),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_unpacks_to_much_is_bounded_in_memory(tmp_path: Path, name: str) -> None:
    file_name, write, num_documents = BOMBS[name]
    path = tmp_path / file_name
    write(path)
    command = [sys.executable, "-c", READ, str(path), "message" if file_name == "message" else "file"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    documents, dead, rss_kb = map(int, result.stdout.split())
    assert documents + dead > 0
    if num_documents is not None:
        assert documents == num_documents
    assert rss_kb < MAX_RSS_KB
    print(f"{name}: {path.stat().st_size:,} bytes, {rss_kb >> 10} MiB, {documents} documents, {dead} dead")
