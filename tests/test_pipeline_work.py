"""The work of each stage on a fixed stream, against the table that was recorded: counted, never timed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.pipeline_work import TABLE, count_stream, more_work

RECORDED = json.loads(TABLE.read_text())


def test_no_stage_does_more_work_than_was_recorded(tmp_path: Path) -> None:
    rose = more_work(RECORDED, count_stream(tmp_path))

    assert not rose, "\n".join([*rose, "If it is worth it: `make record-work`, and say so in the commit."])


def test_more_work_is_seen_and_less_is_not() -> None:
    double = {stage: {name: 2 * count + 1000 for name, count in work.items()} for stage, work in RECORDED.items()}
    half = {stage: {name: count / 2 for name, count in work.items()} for stage, work in RECORDED.items()}

    assert len(more_work(RECORDED, double)) == 2 * len(RECORDED)
    assert more_work(RECORDED, half) == []
    assert more_work(RECORDED, {"another": {"kernel_calls": 1.0}}) == ["another is not in the table"]


def test_every_stage_of_a_document_is_counted() -> None:
    assert {"poll", "decode", "identify", "quality", "near_dedup", "tokenize", "assign", "pack", "emit", "commit"} <= (
        RECORDED.keys()
    )
