"""torchtitan's dataloader in its place: as its trainer builds it, feeds from it, and checkpoints it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp

from curatord.errors import ForeignStream, UnsafeTraining
from tests.curatord.adapters.streams import (
    make_folder,
    marked,
    numbers,
    same_gradient,
    tiny_llama,
    weighted,
    weighted_gradient,
)
from tests.curatord.adapters.test_rows import expected
from tests.curatord.streams import CONTEXT

pytest.importorskip(
    "torchtitan.components.dataloader",
    reason="torchtitan is not installed: it wants datasets<4.8, wandb and more, which the other trainers do not share",
)

from curatord.adapters.torchtitan import PackedLoader, WeightedLoss

BATCH = 2

# Of the checkpoint, which is saved by one process here.
pytestmark = pytest.mark.filterwarnings(
    "ignore:torch.distributed is disabled, unavailable or uninitialized:UserWarning"
)


def loader_on(folder: Path, rank: int, world: int, **changes: object) -> PackedLoader:
    """As `torchtitan.trainer.Trainer` builds it."""
    config = PackedLoader.Config(dataset_path=str(folder), stream_kwargs={"prefetch": 2})
    options = {"seq_len": CONTEXT, "local_batch_size": BATCH, "tokenizer": None, "snapshot_every_n_steps": 1}
    return config.build(dp_world_size=world, dp_rank=rank, **{**options, **changes})


def take(loader: PackedLoader, steps: int) -> list[int]:
    return [n for inputs, _ in islice(iter(loader), steps) for n in numbers(inputs["input"])]


def test_batches_are_what_it_trains_on(folder: Path) -> None:
    inputs, labels = next(iter(loader_on(folder, 0, 1)))

    assert inputs["input"].shape == inputs["positions"].shape == labels.shape == (BATCH, CONTEXT)
    for number in range(BATCH):
        found = [tensor[number].tolist() for tensor in (inputs["input"], inputs["positions"], labels)]
        assert found == expected(marked(number), CONTEXT, shifted=True, multiple=1, pad_id=0)


def test_weights_which_its_loss_would_not_heed_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "weighted", 12, weighted)
    with pytest.raises(UnsafeTraining, match="sequence 0 has weights"):
        next(iter(loader_on(folder, 0, 1)))


def test_a_step_with_weights_has_the_gradient_of_the_weighted_sum(tmp_path: Path) -> None:
    """With the loss that its configuration builds, called as its trainer does: over the targets that it counts."""
    losses = pytest.importorskip("torchtitan.components.loss")
    inputs, labels = next(iter(weighted_loader(tmp_path)))
    model, loss_fn = tiny_llama(), WeightedLoss.Config().build()

    logits = model(input_ids=inputs["input"], position_ids=inputs["positions"], use_cache=False).logits
    num_targets = (labels != losses.IGNORE_INDEX).sum()
    loss, _ = loss_fn(logits, labels, num_targets, positions=inputs["positions"])
    loss.backward()

    assert same_gradient(model, weighted_gradient([weighted(0), weighted(1)]))


def weighted_loader(tmp_path: Path) -> PackedLoader:
    folder = make_folder(tmp_path / "weighted", 12, weighted)
    config = PackedLoader.Config(dataset_path=str(folder), weights="apply")
    return config.build(dp_world_size=1, dp_rank=0, seq_len=CONTEXT, local_batch_size=BATCH)


def test_labels_without_weights_have_a_weight_of_one_and_its_own_loss_refuses_those_with(tmp_path: Path) -> None:
    losses = pytest.importorskip("torchtitan.components.loss")
    torch.manual_seed(0)
    logits, labels = torch.randn(1, 6, 50), torch.tensor([[3, -100, 7, 49, 0, -100]])
    assert torch.allclose(WeightedLoss.Config().build()(logits, labels)[0], losses.cross_entropy_loss(logits, labels))
    _, carrying = next(iter(weighted_loader(tmp_path)))
    with pytest.raises((IndexError, RuntimeError)):
        losses.cross_entropy_loss(torch.randn(BATCH, CONTEXT, 300), carrying)


def test_its_masks_keep_documents_apart(folder: Path) -> None:
    attention = pytest.importorskip("torchtitan.models.common.attention")
    inputs, _ = next(iter(loader_on(folder, 0, 1)))

    sees = attention.get_document_mask_mod(inputs["positions"])

    lengths = marked(0).segment_lengths_S.tolist()
    owner = [number for number, length in enumerate(lengths) for _ in range(length)]
    assert len(owner) == CONTEXT
    for query in range(CONTEXT):
        found = [bool(sees(torch.tensor(0), None, torch.tensor(query), torch.tensor(key))) for key in range(CONTEXT)]
        assert found == [owner[query] == other for other in owner]


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_it_resumes_exactly_under_any_degree(folder: Path, tmp_path: Path, degree: int) -> None:
    first = [loader_on(folder, rank, 2) for rank in range(2)]
    taken = [take(loader, 3) for loader in first]
    assert sorted(taken[0] + taken[1]) == list(range(12))
    assert first[0].state_dict() == first[1].state_dict()
    # The way of a checkpoint of torchtitan: a Stateful in a distributed checkpoint.
    dcp.save({"dataloader": first[0]}, checkpoint_id=tmp_path / "step-3", no_dist=True)  # type: ignore[attr-defined]

    found = []
    for rank in range(degree):
        loader = loader_on(folder, rank, degree)
        dcp.load({"dataloader": loader}, checkpoint_id=tmp_path / "step-3", no_dist=True)  # type: ignore[attr-defined]
        found += take(loader, 2)

    assert sorted(found) == list(range(12, 12 + 2 * BATCH * degree))


def test_another_context_is_refused(folder: Path) -> None:
    with pytest.raises(ForeignStream, match="context of 32 tokens, this run trains on 64"):
        next(iter(loader_on(folder, 0, 1, seq_len=64)))
    with pytest.raises(ValueError, match="dataset_path"):
        PackedLoader.Config().build(dp_world_size=1, dp_rank=0, seq_len=64, local_batch_size=1)


def test_what_is_no_whole_batch_is_left_for_later(tmp_path: Path) -> None:
    loader = loader_on(make_folder(tmp_path, 3 * BATCH + 1), 0, 1)

    assert take(loader, 100) == list(range(3 * BATCH))
    assert f'"next_seq_no": {3 * BATCH}' in loader.state_dict()["curatord_stream"]
    assert take(loader, 100) == []
