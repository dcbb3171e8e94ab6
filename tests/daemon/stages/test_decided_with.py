"""The fact of deciding options: what is remembered, and which options held for a row."""

from __future__ import annotations

from pathlib import Path

from daemon.stages.decided_with import DECIDED_WITH, MAX_RECORDS, DecidedWith, options_at, with_options
from state.epoch import Epoch
from state.store import Store


def test_the_newest_changes_are_kept() -> None:
    records: list[DecidedWith] = []
    for number in range(MAX_RECORDS + 5):
        records = with_options(records, {"a": str(number)}, number)

    assert [record.from_ordinal for record in records] == list(range(5, MAX_RECORDS + 5))


def test_a_row_has_the_options_of_the_newest_change_before_it(tmp_path: Path) -> None:
    store, epoch = Store(tmp_path), Epoch(number=1, identity="")
    DECIDED_WITH.put(epoch, None, [DecidedWith(10, {"a": "1"}), DecidedWith(20, {"a": "2"})])
    store.apply(epoch.changes())

    found = [options_at(store, ordinal).get("a") for ordinal in (9, 10, 19, 20)]

    assert found == [None, "1", "1", "2"]
    store.close()
