"""Fixtures of the trainers' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from curatord.stream import PackedStream
from tests.curatord.adapters.streams import make_folder


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small are slower with more, and their sums then depend on the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 sequences."""
    return make_folder(tmp_path_factory.mktemp("stream"), 120)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of all sequences that any stream of this process gave out, in order."""
    numbers: list[int] = []
    take = PackedStream.__next__

    def noting(stream: PackedStream):  # type: ignore[no-untyped-def]
        sequence = take(stream)
        numbers.append(sequence.seq_no)
        return sequence

    monkeypatch.setattr(PackedStream, "__next__", noting)
    return numbers
