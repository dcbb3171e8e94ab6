"""One of two ranks: trains a few steps with each trainer, and writes down which sequences the model saw.

python -m torch.distributed.run --nproc-per-node 2 -m tests.curatord.adapters.two_ranks FOLDER OUTPUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer
from trl import SFTTrainer

from curatord.adapters.huggingface import OffsetCallback, collate, to_hf
from curatord.adapters.pytorch import PackedDataset
from curatord.adapters.trl import to_trl
from curatord.errors import UnsafeTraining
from curatord.stream import PackedStream
from tests.curatord.adapters.streams import numbers, tiny_llama, watch
from tests.curatord.adapters.test_huggingface import arguments
from tests.curatord.adapters.test_trl import config, tokenizer


def main(folder: str, output: Path) -> None:
    torch.set_num_threads(1)
    seen: dict[str, Any] = {}
    args = arguments(output / "hf", max_steps=3, save_steps=3)
    try:
        to_hf(PackedStream(folder, rank=0, world=2), arguments(output / "hf", accelerator_config=None))
    except UnsafeTraining as error:
        seen["dispatch"] = "rank 0 would read for all" in str(error)
    for name in ("hf", "hf again"):  # the second time from the checkpoint
        stream = PackedStream(folder, rank=args.process_index, world=args.world_size, prefetch=1)
        trainer = Trainer(
            tiny_llama(),
            args,
            data_collator=collate,
            train_dataset=to_hf(stream, args),
            callbacks=[OffsetCallback(stream)],
        )
        calls = watch(trainer.model)
        trainer.train(resume_from_checkpoint=name != "hf")
        seen[name] = [number for call in calls for number in numbers(call["input_ids"])]
        args.max_steps = 5
    refused = {
        # accelerate wraps what is no dataset of Hugging Face, and every rank reads everything.
        "whole": (PackedDataset(stream, 1), "every rank would read everything"),
        "swapped": (
            to_hf(PackedStream(folder, rank=1 - args.process_index, world=2), args),
            "the ranks of the stream are not those of the training",
        ),
    }
    for name, (dataset, message) in refused.items():
        turned = PackedStream(folder, rank=1 - args.process_index, world=2)
        callback = OffsetCallback(turned if name == "swapped" else stream)
        trainer = Trainer(tiny_llama(), args, data_collator=collate, train_dataset=dataset, callbacks=[callback])
        try:
            trainer.train()
        except UnsafeTraining as error:
            seen[name] = message in str(error)
    sft = config(output / "trl", max_steps=3, save_strategy="no")
    stream = PackedStream(folder, rank=sft.process_index, world=sft.world_size, prefetch=1)
    trainer = SFTTrainer(
        model=tiny_llama(),
        args=sft,
        train_dataset=to_trl(stream, sft),
        processing_class=tokenizer(),
        callbacks=[OffsetCallback(stream)],
    )
    calls = watch(trainer.model)
    trainer.train()
    seen["trl"] = [number for call in calls for number in numbers(call["input_ids"])]
    (output / f"rank-{args.process_index}.json").write_text(json.dumps(seen))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
