"""`inspect output` finds shards that are damaged, and those that are gone."""

from __future__ import annotations

from tests.daemon.conftest import Curated, Run


def test_inspect_output_finds_nothing_wrong_then_a_gap_then_garbage(curated: Curated, run: Run) -> None:
    assert "Nothing is wrong" in run("inspect", "output", "-o", curated.output).output
    shards = sorted(curated.output.glob("train-*.parquet"))
    assert len(shards) >= 2

    shards[-1].write_bytes(shards[-1].read_bytes()[:-40])
    damaged = run("inspect", "output", "-o", curated.output)
    shards[0].unlink()
    gap = run("inspect", "output", "-o", curated.output)

    assert damaged.exit_code == 1
    assert "cannot be read further" in damaged.output
    assert gap.exit_code == 1
    assert "where 0 was due" in gap.output
