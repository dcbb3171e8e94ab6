"""A tier keeps few runs, and holds their directories within a budget."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from curation.dedup.merging import Rows, on_one_shelf
from curation.dedup.run_file import RunFile
from curation.dedup.tier import RATIO, Tier
from curatord.errors import StateError

NOTHING_GONE = np.zeros(0, np.uint8)


def sealed(folder: Path, *, num_seals: int, rows_each: int) -> Tier:
    """A tier of 32-bit values that was sealed many times."""
    rng = np.random.default_rng(2)
    tier = Tier("tags", width=1, value_bits=32)
    for number in range(num_seals):
        words = rng.integers(0, 1 << 32, rows_each, dtype=np.uint64) << np.uint64(32) | np.uint64(number)
        tier.seal(on_one_shelf(np.sort(words)[:, None]), folder, number, oldest=0, gone_P=NOTHING_GONE)
        tier.settle()
    return tier


def test_runs_are_few_and_each_is_longer_than_the_next(tmp_path: Path) -> None:
    tier = sealed(tmp_path, num_seals=45, rows_each=300)
    lengths = [len(run) for run in tier.runs]
    assert sum(lengths) == 45 * 300
    assert all(older >= RATIO * newer for older, newer in pairwise(lengths))
    assert len(lengths) <= 6
    assert all((np.diff(run.rows()[:, 0].astype(np.float64)) >= 0).all() for run in tier.runs)


def test_rows_stay_on_their_shelves_through_merges_and_restarts(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    tier, everything = Tier("tags", width=1, value_bits=34), []
    for number in range(9):
        words = rng.integers(0, 50, 200, dtype=np.uint64) << np.uint64(32) | np.uint64(number)
        shelves = rng.choice([0, 1, 3], 200)
        everything += zip(shelves.tolist(), words.tolist(), strict=True)
        order = np.lexsort((words, shelves))
        rows = Rows(words[order][:, None], np.searchsorted(shelves[order], np.arange(5)))
        tier.seal(rows, tmp_path, number, oldest=0, gone_P=NOTHING_GONE)
    tier.settle()
    paths = [run.path for run in tier.runs]
    tier = Tier("tags", width=1, value_bits=34)
    tier.open(paths)
    found = [(shelf, word) for run in tier.runs for shelf in range(4) for word in on_shelf(run, shelf)]
    assert sorted(found) == sorted(everything)
    assert all(on_shelf(run, shelf) == sorted(on_shelf(run, shelf)) for run in tier.runs for shelf in range(4))


def on_shelf(run: RunFile, shelf: int) -> list[int]:
    """The rows on a shelf of a run."""
    bounds_H = run.bounds()
    return run.rows()[bounds_H[shelf] : bounds_H[shelf + 1], 0].tolist()


def test_directories_are_in_memory_as_far_as_the_budget_reaches(tmp_path: Path) -> None:
    tier = sealed(tmp_path, num_seals=7, rows_each=2000)
    sizes = [len(run.directory) for run in tier.runs]
    assert len(sizes) == 3
    for budget, held in (
        (0, 0),
        (sizes[2], sizes[2]),
        (sizes[2] + sizes[1], sizes[2] + sizes[1]),
        (1 << 30, sum(sizes)),
    ):
        tier.hold(budget)
        assert tier.held_bytes == held <= budget
        assert [len(run.directory) for run in tier.runs] == sizes


def test_what_is_forgotten_is_neither_sealed_nor_kept_in_a_merge(tmp_path: Path) -> None:
    tier = sealed(tmp_path, num_seals=1, rows_each=100)
    old = np.sort(np.arange(200, dtype=np.uint64) << np.uint64(40) | np.uint64(95))[:, None]
    tier.seal(on_one_shelf(old), tmp_path, 95, oldest=96, gone_P=NOTHING_GONE)
    assert [len(run) for run in tier.runs] == [100]
    new = np.sort(np.arange(60, dtype=np.uint64) << np.uint64(40) | np.uint64(98))[:, None]
    tier.seal(on_one_shelf(new), tmp_path, 98, oldest=96, gone_P=NOTHING_GONE)
    assert [len(run) for run in tier.runs] == [100, 60]
    tier.settle()
    assert [len(run) for run in tier.runs] == [60]


def test_a_run_that_was_damaged_is_not_merged_into_another(tmp_path: Path) -> None:
    tier = sealed(tmp_path, num_seals=1, rows_each=2000)
    content = bytearray(tier.runs[0].path.read_bytes())
    content[int(tier.runs[0].header["rows"]) + 9_000] ^= 4
    tier.runs[0].path.write_bytes(content)
    with pytest.raises(StateError, match=r"tags-0.run is damaged: something from byte"):
        sealed_again(tier, tmp_path)


def sealed_again(tier: Tier, folder: Path) -> None:
    """As many rows once more, so that the run is merged."""
    words = np.arange(2000, dtype=np.uint64) << np.uint64(40)
    tier.seal(on_one_shelf(words[:, None]), folder, 1, oldest=0, gone_P=NOTHING_GONE)
    tier.settle()
