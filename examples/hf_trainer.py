"""transformers.Trainer on a stream. Started again with more steps, it goes on from its last checkpoint.

python examples/hf_trainer.py curated output                     (a folder, or kafka://broker:9092/sequences)
torchrun --nproc-per-node 2 examples/hf_trainer.py curated output
"""

from __future__ import annotations

import os
import sys

from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from curatord import PackedStream
from curatord.adapters.huggingface import OffsetCallback, check_trainer, collate, to_hf

VOCABULARY = 131_072  # of Tekken, the tokenizer that curatord uses unless told otherwise


def main(url: str, output: str, steps: str = "4") -> None:
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
        )
    )
    args = TrainingArguments(
        output_dir=output,
        max_steps=int(steps),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=2,
        ignore_data_skip=True,  # the stream goes on by itself; without this, batches would be skipped twice
        accelerator_config={"dispatch_batches": False},  # every rank reads its own sequences
        save_steps=2,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    stream = PackedStream(url, rank=args.process_index, world=args.world_size)
    trainer = Trainer(model, args, data_collator=collate, train_dataset=to_hf(stream, args))
    trainer.add_callback(OffsetCallback(stream))
    check_trainer(trainer)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(output) if os.path.isdir(output) else None)


if __name__ == "__main__":
    main(*sys.argv[1:])
