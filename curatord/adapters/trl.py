"""For TRL's SFTTrainer, which packs nothing again and pads nothing:

config = SFTConfig(padding_free=True, max_length=None, max_steps=1000, ignore_data_skip=True)
stream = PackedStream("curated", rank=config.process_index, world=config.world_size)
trainer = SFTTrainer(model, config, train_dataset=to_trl(stream, config), callbacks=[OffsetCallback(stream)])
"""

from __future__ import annotations

from typing import Any

from datasets import IterableDataset
from trl import SFTConfig

from curatord.adapters.hf_checks import argument_faults, refuse
from curatord.adapters.huggingface import OffsetCallback, check_trainer, dataset_of
from curatord.adapters.rows import refuse_weights, rows
from curatord.sequence import PackedSequence
from curatord.stream import PackedStream

__all__ = ["OffsetCallback", "check_sft_config", "check_trainer", "to_trl"]


def to_trl(stream: PackedStream, config: SFTConfig) -> IterableDataset:
    """The rank's rows, without padding: input_ids, seq_lengths, labels.

    Raises `UnsafeTraining` as `check_sft_config` does.
    """
    check_sft_config(config)
    return dataset_of(stream, config, _unpadded)


def _unpadded(sequence: PackedSequence) -> dict[str, Any]:
    refuse_weights([sequence], "TRL's collator drops them; use curatord.adapters.huggingface.WeightedTrainer")
    # A sequence that was missing is a row of one token without a label.
    arrays = rows([sequence], length=max(1, len(sequence.tokens_T)))
    return {
        "input_ids": arrays.input_ids_BL[0],
        "seq_lengths": arrays.seq_lengths[0].tolist(),
        "labels": arrays.labels_BL[0],
    }


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
