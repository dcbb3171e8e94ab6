"""The broker over files: how much comes at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consumers.files import broker as files
from consumers.files.broker import FilesBroker, inputs_read
from consumers.files.inputs import expand
from consumers.formats.input_config import InputConfig
from state.epoch import Epoch
from state.store import Store


@pytest.mark.parametrize(("max_bytes", "sizes"), [(1, [1] * 10), (300, [3, 3, 3, 1]), (1 << 20, [4, 4, 2])])
def test_a_poll_ends_at_its_bytes_or_its_rows_and_no_row_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_bytes: int, sizes: list[int]
) -> None:
    monkeypatch.setattr(files, "MAX_POLL_BYTES", max_bytes)
    for name, numbers in (("a", range(6)), ("b", range(6, 10))):
        lines = [json.dumps({"id": str(number), "text": "x" * 100}) for number in numbers]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    store = Store(tmp_path / "state")
    try:
        broker = FilesBroker(expand([str(tmp_path / "*.jsonl")]), InputConfig(), tmp_path, store)
        polls = []
        while not broker.ended():
            polls.append(broker.poll(4, 0.0))
    finally:
        store.close()
    assert [len(rows) for rows in polls if rows] == sizes
    values = [row.value for rows in polls for row in rows]
    assert [json.loads(value)["id"] for value in values if isinstance(value, bytes)] == list(map(str, range(10)))


def test_an_input_that_ends_in_the_next_epoch_keeps_its_place_though_none_is_committed_yet(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text":"a"}\n{"text":"b"}\n')
    store = Store(tmp_path / "state")
    try:
        (file,) = expand([str(tmp_path / "a.jsonl")])
        broker = FilesBroker([file], InputConfig(), tmp_path, store)
        epochs = [Epoch(number=number, identity="") for number in (1, 2)]
        assert len(broker.poll(2, 0.0)) == 2
        epochs[0].positions[file.uri] = 2
        broker.complete(epochs[0])
        assert not broker.poll(2, 0.0)  # the end
        broker.complete(epochs[1])
        for epoch in epochs:
            broker.commit(epoch)
        progress = inputs_read(store)[file.uri]
    finally:
        store.close()
    assert (progress.position, progress.done) == (2, True)
