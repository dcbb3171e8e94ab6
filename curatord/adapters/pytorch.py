"""For training loops of one's own: whole batches of tensors, for torch's DataLoader and torchdata's StatefulDataLoader.

    dataset = PackedDataset(stream, batch_size=8)
    for batch in DataLoader(dataset, batch_size=None, num_workers=2):
        loss = weighted_loss(model, batch)
        ...
        checkpoint["stream"] = stream.state_dict(consumed=steps * 8)     # a batch of this rank is a step here

That state loads under any number of workers and ranks. The state of a StatefulDataLoader is for the same number only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from curatord.adapters.batches import whole_batches
from curatord.adapters.rows import NO_TARGET, rows
from curatord.sequence import PackedSequence
from curatord.stream import PackedStream


def tensors(batch: Sequence[PackedSequence], *, pad_id: int = 0, shifted: bool = False) -> dict[str, torch.Tensor]:
    """Inputs of Hugging Face's models: input_ids, position_ids and labels. No attention_mask: it would override the
    positions, and documents would see each other. Where a sequence has weights, loss_weights, for `weighted_loss`."""
    arrays = rows(batch, pad_id=pad_id, shifted=shifted)
    found = {
        "input_ids": torch.from_numpy(arrays.input_ids_BL),
        "position_ids": torch.from_numpy(arrays.position_ids_BL),
        "labels": torch.from_numpy(arrays.labels_BL),
    }
    if arrays.weights_BL is not None:
        found["loss_weights"] = torch.from_numpy(arrays.weights_BL)
    return found


def weighted_loss(
    model: torch.nn.Module, batch: Mapping[str, torch.Tensor], *, num_targets: torch.Tensor | int | None = None
) -> torch.Tensor:
    """The loss of a causal model of Hugging Face's: of every target times its weight, over the number of targets.

    The divisor is that of the model's own loss, so that weights of 1 change nothing; `num_targets` if it is that of
    more than this batch, as where gradients are accumulated. `batch` is what `tensors` gives, without `shifted`.
    """
    inputs = {name: values for name, values in batch.items() if name not in ("labels", "loss_weights")}
    logits_BLV = model(**inputs, use_cache=False).logits
    return loss_of_logits(logits_BLV, batch["labels"], batch.get("loss_weights"), num_targets=num_targets)


def loss_of_logits(
    logits_BLV: torch.Tensor,
    labels_BL: torch.Tensor,
    weights_BL: torch.Tensor | None,
    *,
    num_targets: torch.Tensor | int | None = None,
) -> torch.Tensor:
    """The same of logits that are there."""
    labels_T = labels_BL[:, 1:].reshape(-1).to(logits_BLV.device)
    logits_TV = logits_BLV[:, :-1].reshape(-1, logits_BLV.shape[-1]).float()
    losses_T = torch.nn.functional.cross_entropy(logits_TV, labels_T, ignore_index=NO_TARGET, reduction="none")
    if weights_BL is not None:
        losses_T = losses_T * weights_BL[:, 1:].reshape(-1).to(losses_T)
    divisor = (labels_T != NO_TARGET).sum() if num_targets is None else num_targets
    return losses_T.sum() / divisor


class PackedDataset(IterableDataset[Any]):
    """Batches of the stream's rank: worker w of n gives the batches w, w + n, and so on.

    Every iteration begins where `stream` was loaded or started, and leaves the stream itself where it is.
    """

    def __init__(
        self,
        stream: PackedStream,
        batch_size: int,
        collate: Callable[[list[PackedSequence]], Any] = tensors,
    ) -> None:
        """`collate` makes what is given out of the sequences of a batch; give `list` to have these themselves."""
        if batch_size < 1:
            raise ValueError(f"batch_size is at least 1, not {batch_size}")
        self._stream, self._batch_size, self._collate = stream, batch_size, collate
        self._loaded: dict[str, Any] | None = None  # where to go on, in place of where the stream stands
        self._begun: dict[str, Any] = stream.state_dict(consumed=0)  # "earliest" is now the same for all workers
        self._batches = 0  # that this worker gave out since

    def __iter__(self) -> Iterator[Any]:
        worker, workers = _worker()
        start, self._loaded = self._loaded, None
        self._begun, self._batches = start or self._stream.state_dict(consumed=0), 0
        for batch in whole_batches(self._stream, self._batch_size, worker=worker, workers=workers, start=start):
            self._batches += 1
            yield self._collate(batch)

    def state_dict(self) -> dict[str, Any]:
        """Of this worker. Every worker gives out as many batches in a round, so `batches` tells the rank's, too."""
        return {"stream": self._begun, "batches": self._batches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on behind the batches of this worker, under the same number of workers."""
        _, workers = _worker()
        with self._stream.for_worker(0, 1, self._batch_size) as part:
            part.load_state_dict(state["stream"])
            self._begun, self._batches = part.state_dict(consumed=state["batches"] * workers * self._batch_size), 0
        self._loaded = self._begun


def _worker() -> tuple[int, int]:
    info = get_worker_info()
    return (0, 1) if info is None else (info.id, info.num_workers)
