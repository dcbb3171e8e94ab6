"""Files of survivors: what a manifest counts is there, and what it does not is written over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curation.dedup.survivor_files import MIN_GROWTH, SurvivorFiles
from curatord.errors import StateError


def appended(files: SurvivorFiles, folder: Path, numbers: range) -> None:
    survivors_S2 = np.array([(number, 3 * number) for number in numbers], np.uint32).reshape(-1, 2)
    files.append(folder, np.repeat(survivors_S2[:, :1].astype(np.uint8), 64, axis=1), survivors_S2)


def test_rows_come_back_and_go_on_where_a_manifest_ends(tmp_path: Path) -> None:
    files = SurvivorFiles(64)
    appended(files, tmp_path, range(10, 40))
    appended(files, tmp_path, range(0))
    appended(files, tmp_path, range(50, 60))
    again = SurvivorFiles(64)
    again.open(tmp_path, 30)  # the last ten were not told of
    appended(again, tmp_path, range(70, 75))
    assert again.numbers[:, 0].tolist() == [*range(10, 40), *range(70, 75)]
    assert again.sketches[:, 5].tolist() == [*range(10, 40), *range(70, 75)]
    assert not again.sketches.flags.writeable


def test_a_mapping_lasts_while_there_is_room(tmp_path: Path) -> None:
    files = SurvivorFiles(64)
    appended(files, tmp_path, range(1, 5))
    before = files.numbers
    appended(files, tmp_path, range(5, 9))
    assert np.shares_memory(before, files.numbers)
    appended(files, tmp_path, range(9, MIN_GROWTH + 20))
    assert files.numbers[:, 1].tolist() == [3 * number for number in range(1, MIN_GROWTH + 20)]


def test_files_that_lost_their_end_are_refused(tmp_path: Path) -> None:
    appended(SurvivorFiles(64), tmp_path, range(1, 5))
    with pytest.raises(StateError, match="lost its end"):
        SurvivorFiles(64).open(tmp_path, 10 * MIN_GROWTH)
    with pytest.raises(StateError, match="cannot be read"):
        SurvivorFiles(64).open(tmp_path / "nowhere", 1)
