"""Settings of transformers' and TRL's trainers with which training would go wrong without a word: docs/trainers.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from curatord.errors import UnsafeTraining
from curatord.stream import PackedStream

# A row of two segments, as the datasets of the adapters give it.
_PROBE = {
    "input_ids": [1, 2, 3, 4, 5, 6, 7],
    "position_ids": [0, 1, 2, 0, 1, 2, 3],
    "labels": [-100, 2, 3, -100, 5, 6, 7],
    "seq_lengths": [3, 4],
}


def refuse(faults: Sequence[str]) -> None:
    """Raise `UnsafeTraining`, if there are any."""
    if faults:
        raise UnsafeTraining("\n".join(["this training would go wrong:", *(f"- {fault}" for fault in faults)]))


def argument_faults(args: Any) -> list[str]:
    """Of TrainingArguments, and of what inherits from them."""
    accelerator = args.accelerator_config
    sampling = getattr(args, "train_sampling_strategy", None)
    found = {
        "use_cache=True lets every document see those before it: leave it out": getattr(args, "use_cache", False),
        "on a resume, batches would be skipped a second time: ignore_data_skip=True": not args.ignore_data_skip,
        'rank 0 would read for all, and only its own sequences: accelerator_config={"dispatch_batches": False}': (
            args.world_size > 1 and accelerator.dispatch_batches is not False
        ),
        "every rank would read everything: leave out split_batches": accelerator.split_batches,
        "rows are packed to one length, and their order is part of the state: leave out train_sampling_strategy="
        f"{sampling!r}": sampling in ("group_by_length", "batch_rebalance"),
        "a batch size that changes under way would lose the place in the stream: leave out auto_find_batch_size": (
            args.auto_find_batch_size
        ),
        "persistent workers would begin anew where the stream ended: leave out dataloader_persistent_workers": (
            args.dataloader_persistent_workers
        ),
        "a stream has no length: give max_steps": args.max_steps <= 0,
    }
    return [fault for fault, is_there in found.items() if is_there]


def training_faults(args: Any, model: Any, loader: Any, stream: PackedStream | None = None) -> list[str]:
    """Of a Trainer that is about to begin."""
    return [*argument_faults(args), *_model_faults(args, model, loader), *_loader_faults(args, loader, stream)]


def _model_faults(args: Any, model: Any, loader: Any) -> list[str]:
    config = getattr(model, "config", None)
    attention = str(getattr(config, "_attn_implementation", None))
    faults = []
    if getattr(config, "use_cache", False):
        faults.append("model.config.use_cache lets every document see those before it: set it to False")
    # Documents of one row are told apart only there; TRL lays a batch out as one row.
    if "flash" in attention and args.per_device_train_batch_size > 1 and not getattr(args, "padding_free", False):
        faults.append(
            f"{attention} sees documents only in a batch of one row: per_device_train_batch_size=1 and more "
            "gradient_accumulation_steps, or sdpa"
        )
    return faults


def _loader_faults(args: Any, loader: Any, stream: PackedStream | None) -> list[str]:
    faults = _collator_faults(loader.collate_fn)
    if type(loader).__name__ == "DataLoaderDispatcher" and args.world_size > 1:
        faults.append('rank 0 would read for all: accelerator_config={"dispatch_batches": False}')
    if type(loader.dataset).__name__ == "IterableDatasetShard":
        faults.append("every rank would read everything: train_dataset=to_hf(stream, args), or to_trl(stream, config)")
    elif getattr(loader.dataset, "num_shards", 1) != 1 or (
        stream is not None and stream.world == args.world_size and stream.rank != args.process_index
    ):
        faults.append(
            "the ranks of the stream are not those of the training: PackedStream(rank=args.process_index, "
            "world=args.world_size)"
        )
    return faults


def _collator_faults(collator: Callable[[list[dict[str, Any]]], Any]) -> list[str]:
    """Faults of the collated row of two documents."""
    advice = "data_collator=collate, and remove_unused_columns=False if the model's forward() names no position_ids"
    try:
        batch = collator([_PROBE])
    except Exception as error:  # any collator may be there
        return [f"the data_collator cannot take rows of a stream ({error!r}): {advice}"]
    faults = []
    mask = batch.get("attention_mask")
    if mask is not None and mask.ndim < 4:
        faults.append(f"an attention_mask overrides the positions, and documents see each other: {advice}")
    positions = batch.get("position_ids")
    wanted = _PROBE["position_ids"]
    if positions is None or positions[0][: len(wanted)].tolist() != wanted:
        faults.append(
            f"position_ids, from which the model knows where a document begins, are missing or changed: {advice}"
        )
    return faults
