"""A run file is what was written, or is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curation.dedup.merging import on_one_shelf
from curation.dedup.run_file import RunFile
from curation.dedup.tier import Tier
from curatord.errors import StateError


def written(folder: Path, count: int = 1000) -> tuple[Path, np.ndarray[tuple[int, int], np.dtype[np.uint64]]]:
    """A run of keys, some of them several times."""
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 1 << 64, (count, 3), dtype=np.uint64)
    rows[count // 2 :, :2] = rows[: count - count // 2, :2]
    rows[:, 2] = np.arange(count)
    rows = np.ascontiguousarray(rows[np.lexsort(rows.T[::-1])])
    tier = Tier("ids", width=3)
    tier.seal(on_one_shelf(rows), folder, 7, oldest=0, gone_P=np.zeros(0, np.uint8))
    return tier.runs[0].path, rows


def test_rows_are_read_back_and_found_by_their_first_word(tmp_path: Path) -> None:
    path, rows = written(tmp_path)
    run = RunFile(path)
    assert (run.rows() == rows).all()
    for word in (int(rows[0, 0]), int(rows[500, 0]), int(rows[-1, 0])):
        assert (run.find(word) == rows[rows[:, 0] == word]).all()
    assert not len(run.find(int(rows[10, 0]) + 1))


@pytest.mark.parametrize("damage", ["missing", "empty", "shorter", "longer", "another"])
def test_a_file_that_is_not_the_one_that_was_written_is_refused(tmp_path: Path, damage: str) -> None:
    path, _ = written(tmp_path)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        changed = {"empty": b"", "shorter": content[:-8], "longer": content + bytes(8), "another": b"x" + content[1:]}
        path.write_bytes(changed[damage])
    with pytest.raises(StateError, match=path.name):
        RunFile(path)
