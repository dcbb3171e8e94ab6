"""TRL's SFTTrainer on a stream, which is packed already: it packs nothing again and pads nothing.

python examples/trl_sft.py curated output                        (a folder, or kafka://broker:9092/sequences)
"""

from __future__ import annotations

import os
import sys

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig, SFTTrainer

from curatord import PackedStream
from curatord.adapters.trl import OffsetCallback, check_trainer, to_trl

VOCABULARY = 131_072  # of Tekken, the tokenizer that curatord uses unless told otherwise


def main(url: str, output: str, steps: str = "4") -> None:
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
        )
    )
    # Give the tokenizer of your model. Nothing is tokenized here, so that one without words will do.
    words = Tokenizer(WordLevel({"<pad>": 0, "</s>": 2}, unk_token="<pad>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>")
    config = SFTConfig(
        output_dir=output,
        max_steps=int(steps),
        per_device_train_batch_size=2,
        padding_free=True,
        max_length=None,
        ignore_data_skip=True,
        save_steps=2,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        bf16=False,
        dataloader_pin_memory=False,
    )
    stream = PackedStream(url, rank=config.process_index, world=config.world_size)
    trainer = SFTTrainer(model, config, train_dataset=to_trl(stream, config), processing_class=tokenizer)
    trainer.add_callback(OffsetCallback(stream))
    check_trainer(trainer)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(output) if os.path.isdir(output) else None)


if __name__ == "__main__":
    main(*sys.argv[1:])
