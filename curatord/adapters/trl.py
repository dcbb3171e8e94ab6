"""For TRL's SFTTrainer, which packs nothing again and pads nothing:

config = SFTConfig(padding_free=True, max_length=None, max_steps=1000, ignore_data_skip=True)
stream = PackedStream("curated", rank=config.process_index, world=config.world_size)
trainer = SFTTrainer(model, config, train_dataset=to_trl(stream, config), callbacks=[OffsetCallback(stream)])

For a stream with weights: `to_trl(stream, config, weights="apply")`, and `WeightedSFTTrainer` in place of `SFTTrainer`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from datasets import IterableDataset
from trl import SFTConfig, SFTTrainer

from curatord.adapters.hf_checks import argument_faults, refuse
from curatord.adapters.huggingface import OffsetCallback, Weights, check_trainer, dataset_of
from curatord.adapters.rows import refuse_weights, rows, weights_of
from curatord.sequence import PackedSequence
from curatord.stream import PackedStream

__all__ = ["OffsetCallback", "WeightedSFTTrainer", "check_sft_config", "check_trainer", "to_trl"]


def to_trl(stream: PackedStream, config: SFTConfig, *, weights: Weights = "refuse") -> IterableDataset:
    """The rank's rows, without padding: input_ids, seq_lengths, labels; loss_weights to apply them.

    `weights` of the stream's documents: "apply" them, for `WeightedSFTTrainer`; "ignore" them; "refuse" a stream that
    has any, for TRL's own trainer drops them without a word.
    Raises `UnsafeTraining` as `check_sft_config` does.
    """
    check_sft_config(config)
    return dataset_of(stream, config, partial(_unpadded, weights=weights))


def _unpadded(sequence: PackedSequence, *, weights: Weights) -> dict[str, Any]:
    if weights == "refuse":
        refuse_weights([sequence], 'use WeightedSFTTrainer, with to_trl(..., weights="apply"), or weights="ignore"')
    # A sequence that was missing is a row of one token without a label.
    arrays = rows([sequence], length=max(1, len(sequence.tokens_T)))
    row = {
        "input_ids": arrays.input_ids_BL[0],
        "seq_lengths": arrays.seq_lengths[0].tolist(),
        "labels": arrays.labels_BL[0],
    }
    if weights == "apply":
        row["loss_weights"] = weights_of(arrays)[0]
    return row


class WeightedSFTTrainer(SFTTrainer):
    """TRL's SFTTrainer whose loss is that of every target times its weight, over its own divisor.

    The weights are multiplied into the log-probabilities of targets that the model gives TRL's loss; everything else,
    its metrics included, stays as it is. Batches without loss_weights, as those of an evaluation, have TRL's loss.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As for SFTTrainer. Raises `UnsafeTraining` for a loss that is not made of log-probabilities alone."""
        super().__init__(*args, **kwargs)
        config = self.args
        found = {
            f"weights are not multiplied into loss_type={config.loss_type!r}: leave it out": config.loss_type != "nll",
            "weights are not multiplied into a smoothed loss: leave out label_smoothing_factor": (
                config.label_smoothing_factor
            ),
            "weights are not multiplied into a compute_loss_func: leave it out": self.compute_loss_func is not None,
        }
        refuse([fault for fault, is_there in found.items() if is_there])
        own: Callable[[list[dict[str, Any]]], Any] = self.data_collator  # type: ignore[has-type]
        self.data_collator = partial(_collate, own)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if "loss_weights" not in self._signature_columns:
            self._signature_columns.append("loss_weights")

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """TRL's, of weighted log-probabilities."""
        weights_BL = inputs.pop("loss_weights", None)
        if weights_BL is None:
            return super().compute_loss(model, inputs, *args, **kwargs)

        def weigh(_: Any, __: Any, outputs: Any) -> Any:
            if getattr(outputs, "log_probs", None) is not None:
                outputs.log_probs = outputs.log_probs * weights_BL[:, 1:].to(outputs.log_probs)
            return outputs

        hook = model.register_forward_hook(weigh)
        try:
            return super().compute_loss(model, inputs, *args, **kwargs)
        finally:
            hook.remove()


def _collate(collator: Callable[[list[dict[str, Any]]], Any], rows: list[dict[str, Any]]) -> Any:
    """The batch of TRL's collator, one row, with the weights of its tokens."""
    names = set(rows[0]) - {"loss_weights"}
    batch = collator([{name: row[name] for name in names} for row in rows])
    if len(names) < len(rows[0]):
        weights = [torch.as_tensor(row["loss_weights"], dtype=torch.float32) for row in rows]
        batch["loss_weights"] = torch.cat(weights)[None]
    return batch


def check_sft_config(config: SFTConfig) -> None:
    """Raise `UnsafeTraining` with all that is wrong."""
    found = {
        "packing=True packs rows again, and their documents flow into each other: packing=False": config.packing,
        "without padding_free=True the segments of a row are not looked at": not config.padding_free,
        "max_length cuts rows: max_length=None": config.max_length is not None,
        "pad_to_multiple_of makes a document of every padding token: leave it out": config.pad_to_multiple_of,
        "shuffle_dataset=True keeps rows back and would lose the place in the stream: leave it out": (
            config.shuffle_dataset
        ),
    }
    general = [fault for fault in argument_faults(config) if "dispatch_batches" not in fault]  # SFTTrainer sees to it
    refuse([*(fault for fault, is_there in found.items() if is_there), *general])
