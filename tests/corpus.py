"""Reading the development corpora."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

CORPORA = Path(os.environ.get("CURATORD_TEST_CORPORA", Path(__file__).parents[2] / "shared" / "corpora"))


def read_zst_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of one zstd-compressed JSON-lines file."""
    with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            yield json.loads(line)
