"""Tables that are computed once a machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numba.core import config
from numpy.typing import NDArray

from kernels.kept import kept

made: list[int] = []


def squares(count: int) -> NDArray[np.int64]:
    made.append(count)
    return np.arange(count) ** 2


def halves(count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    made.append(count)
    return np.arange(count), np.arange(count) / 2


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    made.clear()
    return tmp_path


def test_a_table_is_made_once_for_all_processes() -> None:
    # A function that is decorated again stands for another process: it remembers nothing.
    tables = [kept(squares)(5) for _ in range(3)]

    assert [table.tolist() for table in tables] == [[0, 1, 4, 9, 16]] * 3
    assert made == [5]
    assert not tables[0].flags.writeable


def test_several_arrays_come_back_as_they_were_and_other_arguments_are_another_table() -> None:
    first, again, other = kept(halves)(3), kept(halves)(3), kept(halves)(4)

    assert [array.tolist() for array in again] == [array.tolist() for array in first] == [[0, 1, 2], [0.0, 0.5, 1.0]]
    assert len(other[0]) == 4
    assert made == [3, 4]


@pytest.mark.parametrize("damage", [b"", b"no table", None])
def test_a_damaged_file_is_made_again(place: Path, damage: bytes | None) -> None:
    kept(squares)(100)
    (file,) = place.glob("*.npz")
    content = bytearray(file.read_bytes())
    content[-700] ^= 1  # in the numbers
    file.write_bytes(bytes(content) if damage is None else damage)

    assert kept(squares)(100).tolist() == (np.arange(100) ** 2).tolist()
    assert made == [100, 100]
    assert kept(squares)(100)[99] == 99**2
    assert made == [100, 100]


def test_a_table_is_made_every_time_where_it_cannot_be_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(place / "file"))
    (place / "file").touch()

    assert [kept(squares)(2).tolist() for _ in range(2)] == [[0, 1]] * 2
    assert made == [2, 2]
