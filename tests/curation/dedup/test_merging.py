"""Merges beside the loop: what they give counts later, and a process that ends does not wait for them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from curation.dedup.merging import on_one_shelf
from curation.dedup.tier import Tier

NOTHING_GONE = np.zeros(0, np.uint8)


def test_runs_are_merged_beside_the_loop_and_count_when_they_are_taken(tmp_path: Path) -> None:
    tier = Tier("tags", width=1, value_bits=32)
    words = np.sort(np.random.default_rng(4).integers(0, 1 << 63, 3_000_000, dtype=np.uint64))[:, None]
    tier.seal(on_one_shelf(words), tmp_path, 1, oldest=0, gone_P=NOTHING_GONE)
    tier.seal(on_one_shelf(words), tmp_path, 2, oldest=0, gone_P=NOTHING_GONE)
    assert [run.path.name for run in tier.runs] == ["tags-1.run", "tags-2.run"]
    while not tier.has_merged():
        time.sleep(0.01)
    assert len(tier.runs) == 2
    tier.take_merged()
    assert [len(run) for run in tier.runs] == [6_000_000]
    assert not tier.has_merged()
    assert tier.runs[0].path.name.startswith("tags-2.")
    assert tier.runs[0].path.name.endswith(".run")
    assert len(list(tmp_path.glob("*.merging"))) == 0


ENDS_EARLY = """
import sys, time
from pathlib import Path
import numpy as np
from curation.dedup.merging import on_one_shelf
from curation.dedup.tier import Tier
tier = Tier("tags", width=1, value_bits=32)
words = np.arange(3_000_000, dtype=np.uint64)[:, None] << np.uint64(32)
for number in range(2):
    tier.seal(on_one_shelf(words), Path(sys.argv[1]), number, oldest=0, gone_P=np.zeros(0, np.uint8))
assert len(list(Path(sys.argv[1]).glob("*.merging"))) <= 1
"""


def test_a_process_that_ends_does_not_wait_for_its_merges(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ENDS_EARLY, str(tmp_path)]
    ended = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.glob("*.run")) == ["tags-0.run", "tags-1.run"]
