"""Folders of prepared rows: every input in its order, every row once, nothing that is not whole."""

from __future__ import annotations

import errno
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consumers.broker import RawDocument
from consumers.files.inputs import InputFile, Part, expand
from consumers.files.prepared_folder import PartWriter, contiguous, inputs_of, is_prepared, read_prepared, register
from curatord.errors import IdentityError, StateError, StorageError, UsageError
from tests.daemon.conftest import write_documents
from tests.daemon.prepared.parts import usual

ROWS = [RawDocument("in", at, msgspec.json.encode({"text": f"text {at}"})) for at in range(60) if at % 7]
POSITIONS = [row.position for row in ROWS]


def positions_of(file: InputFile, start: int = 0) -> list[int]:
    return [row.position for block in read_prepared(file, start, usual().identity) for row in block]


def prepared(folder: Path) -> Path:
    """A folder with these rows in three parts."""
    (entry,) = register(folder, [InputFile(uri="in", kind="jsonl", size=9)], usual().identity)
    for first, end in ((0, 20), (20, 44), (44, 60)):
        batch = usual().prepare([row for row in ROWS if first <= row.position < end])
        part = PartWriter(folder, entry.number, first, batch.schema)
        part.write(batch, end)
        part.finish(is_last=end == 60)
    return folder


@pytest.mark.parametrize("start", [0, 15, 20, 43, 59, 60])
def test_rows_are_read_from_any_position_on(tmp_path: Path, start: int) -> None:
    (file,) = inputs_of(prepared(tmp_path / "rows"))

    assert is_prepared(tmp_path / "rows")
    assert (file.uri, file.size) == ("in", 9)
    assert positions_of(file, start) == [position for position in POSITIONS if position >= start]


def test_of_parts_that_begin_together_the_longest_counts_and_none_behind_a_gap() -> None:
    parts = [Part("a", 0, 5, False), Part("b", 0, 9, False), Part("c", 9, 12, True), Part("d", 5, 9, False)]

    assert [part.path for part in contiguous(parts)] == ["b", "c"]
    assert contiguous([Part("a", 3, 5, True)]) == []
    assert [part.path for part in contiguous([Part("a", 0, 0, True)])] == ["a"]


def test_an_input_that_is_not_whole_is_named(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "rows")
    next(folder.glob("*-end.arrow")).unlink()

    with pytest.raises(UsageError, match="1 of 1 inputs are not prepared to their end, first in:"):
        inputs_of(folder)


def test_an_input_that_changed_is_prepared_anew_in_its_place(tmp_path: Path) -> None:
    names = [str(tmp_path / f"{name}.jsonl") for name in "ab"]
    for name in names:
        write_documents(Path(name), range(3))
    before = register(tmp_path / "rows", expand(names), "{}")
    write_documents(Path(names[0]), range(5))

    after = register(tmp_path / "rows", expand(names), "{}")

    assert [entry.number for entry in before] == [0, 1]
    assert [entry.number for entry in after] == [2, 1]
    with pytest.raises(IdentityError, match="tokenizer: it was prepared with None, now it is other"):
        register(tmp_path / "rows", expand(names), '{"tokenizer": "other"}')


def test_tables_of_an_engine_are_read_in_the_order_of_positions(tmp_path: Path) -> None:
    table = pa.Table.from_batches([usual().prepare(ROWS)]).replace_schema_metadata(None)
    for number, (first, end) in enumerate(((30, 60), (20, 30), (0, 20), (20, 30))):  # one task was run twice
        pq.write_table(table.slice(first, end - first), tmp_path / f"part-{number}.parquet")

    (file,) = inputs_of(tmp_path)
    assert is_prepared(tmp_path)
    for start in (0, 40):
        assert positions_of(file, start) == [position for position in POSITIONS if position >= start]

    pq.write_table(table.slice(15, 20), tmp_path / "part-4.parquet")
    with pytest.raises(UsageError, match="between those of another file"):
        inputs_of(tmp_path)


def test_rows_out_of_order_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_batches([usual().prepare(ROWS)])
    pq.write_table(table.take(pa.array([0, 2, 1])), tmp_path / "part.parquet")

    (file,) = inputs_of(tmp_path)
    with pytest.raises(StateError, match="out of the order"):
        positions_of(file)


def test_a_part_that_is_damaged_is_named(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "rows")
    part = sorted(folder.glob("*.arrow"))[1]
    part.write_bytes(part.read_bytes()[:-500])

    (file,) = inputs_of(folder)
    with pytest.raises(StateError, match=part.name):
        positions_of(file)


def test_a_folder_of_other_files_holds_no_prepared_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")

    assert not is_prepared(tmp_path)
    with pytest.raises(UsageError, match="something else"):
        register(tmp_path, [], "{}")


def test_a_part_for_which_there_is_no_room_leaves_nothing_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("consumers.files.prepared_folder.sync", full)
    batch = usual().prepare(ROWS)
    part = PartWriter(tmp_path, 0, 0, batch.schema)
    part.write(batch, 60)

    with pytest.raises(StorageError, match=f"the disk of {tmp_path} is full.*run the same command again"):
        part.finish(is_last=True)
    assert not list(tmp_path.iterdir())
