"""For transformers.Trainer: rows of the stream, a collator, and a callback that keeps the place in every checkpoint.

    stream = PackedStream("curated", rank=args.process_index, world=args.world_size)
    trainer = Trainer(model, args, data_collator=collate, train_dataset=to_hf(stream, args))
    trainer.add_callback(OffsetCallback(stream))

For a stream with weights: `to_hf(stream, args, weights="apply")`, and `WeightedTrainer` in place of `Trainer`.

The arguments must hold `max_steps`, `ignore_data_skip=True` and `accelerator_config={"dispatch_batches": False}`; what
is missing is said before the first step, as `UnsafeTraining`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from datasets import IterableDataset
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from curatord.adapters.batches import whole_batches
from curatord.adapters.hf_checks import argument_faults, refuse, training_faults
from curatord.adapters.pytorch import loss_of_logits
from curatord.adapters.rows import NO_TARGET, refuse_weights, rows, weights_of
from curatord.errors import StreamError
from curatord.position import state_from
from curatord.sequence import PackedSequence
from curatord.stream import PackedStream

STATE_FILE = "curatord_stream.json"

_Row = Callable[[PackedSequence], dict[str, Any]]


Weights = Literal["refuse", "apply", "ignore"]


def to_hf(stream: PackedStream, args: TrainingArguments, *, weights: Weights = "refuse") -> IterableDataset:
    """The rank's rows, padded to the context length: input_ids, position_ids, labels; loss_weights to apply them.

    `weights` of the stream's documents: "apply" them, for `WeightedTrainer`; "ignore" them; "refuse" a stream that has
    any, for transformers' own Trainer would train without a word as if there were none.
    Raises `UnsafeTraining` if documents would see each other with `args`, or sequences be lost or repeated.
    """
    refuse(argument_faults(args))
    if weights == "apply" and args.remove_unused_columns:
        refuse(["the Trainer would take the weights out of every batch: remove_unused_columns=False"])
    return dataset_of(stream, args, partial(_padded, weights=weights))


def _padded(sequence: PackedSequence, *, weights: Weights) -> dict[str, Any]:
    if weights == "refuse":
        refuse_weights([sequence], 'use WeightedTrainer, with to_hf(..., weights="apply"), or weights="ignore"')
    arrays = rows([sequence])
    row = {
        "input_ids": arrays.input_ids_BL[0],
        "position_ids": arrays.position_ids_BL[0],
        "labels": arrays.labels_BL[0],
    }
    if weights == "apply":
        row["loss_weights"] = weights_of(arrays)[0]
    return row


class WeightedTrainer(Trainer):
    """transformers.Trainer whose loss is that of every target times its weight, over its own divisor.

    Batches without loss_weights, as those of an evaluation, have the loss of transformers.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As for Trainer, but without a `compute_loss_func`."""
        self._weights_BL: torch.Tensor | None = None  # of the batch whose loss is computed
        super().__init__(*args, **kwargs)
        self.compute_loss_func = self._weighted

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Keep the weights from the model, which does not know them."""
        self._weights_BL = inputs.pop("loss_weights", None)
        return super().compute_loss(model, inputs, *args, **kwargs)

    def _weighted(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | None = None) -> Any:
        return loss_of_logits(outputs["logits"], labels, self._weights_BL, num_targets=num_items_in_batch)


def dataset_of(stream: PackedStream, args: TrainingArguments, row: _Row) -> IterableDataset:
    """The dataset for Trainers of Hugging Face and TRL, one `row` a sequence.

    One shard a rank, so that accelerate, where it shares out a dataset, gives every rank its own; a shard of another
    rank is empty here. A step that the stream cannot fill is not begun.
    """
    step = args.train_batch_size * args.gradient_accumulation_steps
    # No closure: loaders that start their workers anew have to pickle it.
    return IterableDataset.from_generator(
        partial(_read, stream, step, row), gen_kwargs={"ranks": list(range(stream.world))}
    )


def _read(stream: PackedStream, step: int, row: _Row, *, ranks: list[int]) -> Iterator[dict[str, Any]]:
    if stream.rank in ranks:
        for batch in whole_batches(stream, step):
            yield from map(row, batch)


def collate(batch: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """Tensors, and no attention_mask. Only a sequence that was missing, read with on_gap="fill", has a row to pad."""
    length = max(len(row["input_ids"]) for row in batch)

    def stacked(name: str, fill: Any) -> torch.Tensor:
        full = [np.concatenate([row[name], fill[: length - len(row[name])]]) for row in batch]
        return torch.from_numpy(np.stack(full))

    stacks = {
        "input_ids": stacked("input_ids", np.zeros(length, np.int64)),
        "position_ids": stacked("position_ids", np.arange(length)),
        "labels": stacked("labels", np.full(length, NO_TARGET)),
    }
    if "loss_weights" in batch[0]:
        stacks["loss_weights"] = stacked("loss_weights", np.zeros(length, np.float32))
    return stacks


def check_trainer(trainer: Trainer) -> None:
    """Raise `UnsafeTraining` with all that is wrong. `OffsetCallback` does so, too, when training begins."""
    faults = training_faults(trainer.args, trainer.model, trainer.get_train_dataloader())
    kept = any(isinstance(callback, OffsetCallback) for callback in trainer.callback_handler.callbacks)
    if not kept and trainer.args.save_strategy != "no":
        faults.append(
            "checkpoints would not hold the place in the stream: trainer.add_callback(OffsetCallback(stream))"
        )
    refuse(faults)


class OffsetCallback(TrainerCallback):
    """Writes `curatord_stream.json` into every checkpoint, and goes on from it: nothing is read again.

    The file is the same for any number of ranks, and loads under any other. With a `run_id` and a topic for
    feedback, the daemon is told how far back the oldest checkpoint goes.
    """

    def __init__(self, stream: PackedStream, *, checkpoint: str | os.PathLike[str] | None = None) -> None:
        """`checkpoint`: the folder that training is resumed from, if it is not one of `output_dir`."""
        self._stream = stream
        self._checkpoint = None if checkpoint is None else Path(checkpoint)
        self._first_step = 0  # of the Trainer, where the stream was loaded

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        refuse(training_faults(args, kwargs["model"], kwargs["train_dataloader"], self._stream))
        if state.global_step:
            self._stream.load_state_dict(self._saved(args, state))
        self._first_step = state.global_step

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # The Trainer begins an epoch where the stream ended: with what has come since, not with the first again.
        self._stream.load_state_dict(self._position(args, state))
        self._first_step = state.global_step

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if not args.should_save:
            return
        path = _folder(args, state) / STATE_FILE
        path.with_suffix(".unfinished").write_text(json.dumps(self._position(args, state)))
        path.with_suffix(".unfinished").replace(path)
        if state.is_world_process_zero and self._stream.has_feedback:
            kept = [
                json.loads(file.read_bytes()) for file in Path(args.output_dir or "").glob(f"checkpoint-*/{STATE_FILE}")
            ]
            self._stream.release(min(kept, key=lambda value: (value["generation"], value["next_seq_no"])))

    def _position(self, args: TrainingArguments, state: TrainerState) -> dict[str, Any]:
        steps = state.global_step - self._first_step
        return self._stream.state_dict(consumed=steps * args.gradient_accumulation_steps * args.train_batch_size)

    def _saved(self, args: TrainingArguments, state: TrainerState) -> dict[str, Any]:
        path = (self._checkpoint or _folder(args, state)) / STATE_FILE
        try:
            saved: dict[str, Any] = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise StreamError(
                f"training goes on from step {state.global_step}, and there is no {path} to say where in the stream: "
                "name the checkpoint's folder, OffsetCallback(stream, checkpoint=...)"
            ) from None
        state_from(saved)
        return saved


def _folder(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir or "", f"checkpoint-{state.global_step}")
