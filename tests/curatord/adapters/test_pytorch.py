"""Loaders of torch and torchdata, with and without workers, saved under one number of them and loaded under another."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from curatord.adapters.pytorch import PackedDataset, tensors, weighted_loss
from curatord.stream import PackedStream
from tests.curatord.adapters.streams import (
    make_folder,
    marked,
    numbers,
    same_gradient,
    tiny_llama,
    weighted,
    weighted_gradient,
)

BATCH = 3
WORKERS = [0, 2, 4]

pytestmark = [
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),  # torchdata 0.11 calls it
    pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes:UserWarning"),  # on two cores
]


def loader_on(stream: PackedStream, workers: int, **options: Any) -> StatefulDataLoader:
    return StatefulDataLoader(PackedDataset(stream, BATCH), batch_size=None, num_workers=workers, **options)


def take(loader: Any, count: int) -> list[list[int]]:
    return [numbers(batch["input_ids"]) for batch in islice(iter(loader), count)]


def batches(first: int, count: int, rank: int = 0, world: int = 1) -> list[list[int]]:
    """Sequences of one rank of a job that stands at `first`."""
    return [[first + (step * BATCH + n) * world + rank for n in range(BATCH)] for step in range(count)]


@pytest.mark.parametrize("saved", WORKERS)
def test_a_state_loads_under_any_number_of_workers_and_ranks(folder: Path, saved: int) -> None:
    steps, world = 5, 2
    states = []
    for rank in range(world):
        stream = PackedStream(folder, rank=rank, world=world, prefetch=4)
        assert take(loader_on(stream, saved), steps) == batches(0, steps, rank, world)
        states.append(json.loads(json.dumps(stream.state_dict(consumed=steps * BATCH))))

    assert states[0] == states[1]
    for loaded in WORKERS:
        stream = PackedStream(folder, start=states[0])
        assert take(loader_on(stream, loaded), 3) == batches(steps * BATCH * world, 3)


@pytest.mark.parametrize("workers", WORKERS)
def test_torchdata_goes_on_by_itself_under_the_same_number(folder: Path, workers: int) -> None:
    first = loader_on(PackedStream(folder, start=6), workers)
    running = iter(first)
    given = [numbers(next(running)["input_ids"]) for _ in range(5)]
    state = first.state_dict()
    del running

    second = loader_on(PackedStream(folder, start=6), workers)
    second.load_state_dict(state)
    running = iter(second)
    given += [numbers(next(running)["input_ids"]) for _ in range(4)]
    state = second.state_dict()  # of a run that was resumed itself
    del running
    third = loader_on(PackedStream(folder, start=6), workers)
    third.load_state_dict(state)

    assert given + take(third, 2) == batches(6, 11)


def test_a_plain_loader_does_too(folder: Path) -> None:
    stream = PackedStream(folder)
    loader = DataLoader(PackedDataset(stream, BATCH), batch_size=None, num_workers=2)

    assert take(loader, 3) == batches(0, 3)
    assert take(loader, 3) == batches(0, 3)  # the stream did not move
    stream.load_state_dict(stream.state_dict(consumed=3 * BATCH))
    assert take(loader, 3) == batches(3 * BATCH, 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_only_whole_batches_come(tmp_path: Path, workers: int) -> None:
    folder = make_folder(tmp_path, 5 * BATCH + 2)

    assert take(loader_on(PackedStream(folder), workers), 100) == batches(0, 5)


def test_sequences_themselves_come_if_they_are_wanted(folder: Path) -> None:
    dataset = PackedDataset(PackedStream(folder), BATCH, collate=list)

    assert [sequence.seq_no for sequence in next(iter(dataset))] == [0, 1, 2]
    with pytest.raises(ValueError, match="batch_size is at least 1"):
        PackedDataset(PackedStream(folder), 0)


def test_the_gradient_is_that_of_the_weighted_sum() -> None:
    sequences = [weighted(1), marked(2), weighted(5), weighted(7)]
    batch, model = tensors(sequences), tiny_llama()
    weighted_loss(model, batch).backward()
    assert same_gradient(model, weighted_gradient(sequences))
    assert "loss_weights" not in tensors([marked(1)])


def test_without_weights_the_loss_is_the_models_own() -> None:
    batch, model = tensors([marked(1), marked(2)]), tiny_llama()
    own = model(**batch, use_cache=False).loss
    assert torch.allclose(weighted_loss(model, batch), own, atol=1e-6)


def test_weights_come_through_a_folder_and_the_workers_of_a_loader(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "weighted", 12, weighted)
    loader = DataLoader(PackedDataset(PackedStream(folder), 3), batch_size=None, num_workers=2)
    for first, batch in zip(range(0, 12, 3), loader, strict=True):
        expected = tensors([weighted(seq_no) for seq_no in range(first, first + 3)])
        assert torch.equal(batch["loss_weights"], expected["loss_weights"])
