"""Reading the development corpora."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard


def read_zst_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of one zstd-compressed JSON-lines file."""
    with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            yield json.loads(line)
