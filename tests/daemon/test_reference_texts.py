"""Texts beside the input: nothing of them is lost without a word."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from consumers.formats.input_config import InputConfig
from curatord.errors import ConfigError
from daemon.reference_texts import texts_of

ROWS = [json.dumps({"id": str(i), "text": f"text {i} of some words"}) for i in range(500)]


def test_the_texts_are_those_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(ROWS[:300]))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(ROWS[300:]).encode()))
    found = texts_of([str(tmp_path)], InputConfig(), "target.files")
    assert sorted(found) == sorted(json.loads(row)["text"] for row in ROWS)


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("cut.jsonl.gz", gzip.compress("\n".join(ROWS).encode())[:-40], "cut.jsonl.gz at row "),
        ("odd.jsonl", "\n".join([*ROWS[:7], "{", *ROWS[7:]]).encode(), "odd.jsonl at row 7"),
        ("other.txt.jsonl", b'{"no_text": 1}', "other.txt.jsonl at row 0"),
    ],
)
def test_rows_that_cannot_be_read_are_refused_with_their_place(
    tmp_path: Path, name: str, content: bytes, place: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=r"target\.files: .*rows? cannot be read") as refused:
        texts_of([str(tmp_path / name)], InputConfig(), "target.files")
    assert place in str(refused.value)


def test_an_empty_name_is_no_folder() -> None:
    with pytest.raises(ConfigError, match="is no file"):
        texts_of([""], InputConfig(), "target.files")
