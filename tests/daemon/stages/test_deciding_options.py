"""The options that rows were decided with: a record for each change, and the rows that each held for."""

from __future__ import annotations

from pathlib import Path

import msgspec

from daemon.config import Config, parse_config
from daemon.stages.decided_with import DECIDED_WITH, DecidedWith, with_options
from daemon.stages.deciding_options import BESIDES, SECTIONS, Difference, deciding_options, described, differences
from state.common_facts import NEXT_ORDINAL
from state.epoch import Epoch
from state.store import Store


def test_changes_are_remembered_and_named_with_the_rows_that_each_value_had(tmp_path: Path) -> None:
    first, second = (parse_config({"quality": {"preset": preset}}, "test") for preset in ("c4", "gopher"))
    options = [{"quality.preset": '"observe"'}, {"quality.preset": '"c4"'}, {"quality.preset": '"c4"'}]
    records: list[DecidedWith] = []
    for options_then, ordinal in zip(options, (0, 300, 350), strict=True):
        records = with_options(records, options_then, ordinal)
    assert len(records) == 2
    store, epoch = Store(tmp_path), Epoch(number=1, identity="")
    DECIDED_WITH.put(epoch, None, records)
    NEXT_ORDINAL.put(epoch, None, 400)
    store.apply(epoch.changes())

    found = differences(store, first)
    (other,) = differences(store, second)

    assert found == [Difference(name="quality.preset", before={'"observe"': 300}, now='"c4"')]
    assert str(other) == 'quality.preset: "observe" for 300 rows, "c4" for 100 rows; now "gopher"'
    assert described([other], way_out="Decide again.").endswith("Decide again.")
    store.close()


def test_rows_that_were_not_read_with_an_option_are_not_counted(tmp_path: Path) -> None:
    store = Store(tmp_path)

    assert differences(store, Config()) == []
    store.close()


def test_every_section_is_one_that_decides_or_says_how_the_process_works() -> None:
    process = {"daemon", "dead_letters", "kafka", "topics", "probes", "state", "metrics", "log"}

    sections = {field.name for field in msgspec.structs.fields(Config)}
    named = deciding_options(Config())

    assert {name.split(".")[0] for name in named} == set(SECTIONS)
    assert not set(BESIDES) & set(named)
    assert set(SECTIONS) | process == sections
