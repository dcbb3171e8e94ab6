"""TRL's SFTTrainer on a stream: it sees the segments as they are, and what would pack or cut them again is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, TrainerCallback
from trl import SFTConfig, SFTTrainer

from curatord.adapters.trl import OffsetCallback, WeightedSFTTrainer, check_sft_config, check_trainer, to_trl
from curatord.errors import UnsafeTraining
from curatord.sequence import NO_LOSS
from curatord.stream import PackedStream
from tests.curatord.adapters.streams import (
    make_folder,
    marked,
    numbers,
    same_gradient,
    tiny_llama,
    watch,
    weighted,
    weighted_gradient,
)

ROWS = 3

pytestmark = [
    # TRL's own default, by the name that transformers no longer wants.
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning"),
]


def config(output: Path, **changes: Any) -> SFTConfig:
    safe = {
        "output_dir": str(output),
        "max_steps": 4,
        "per_device_train_batch_size": ROWS,
        "padding_free": True,
        "max_length": None,
        "ignore_data_skip": True,
        "logging_steps": 1,
        "save_steps": 2,
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    return SFTConfig(**{**safe, **changes})


def tokenizer() -> PreTrainedTokenizerFast:
    """SFTTrainer wants one, though there is nothing to tokenize."""
    words = Tokenizer(WordLevel({"<pad>": 0, "<s>": 1, "</s>": 2}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def trainer_on(folder: Path, args: SFTConfig) -> SFTTrainer:
    stream = PackedStream(folder, prefetch=1)
    return SFTTrainer(
        model=tiny_llama(),
        args=args,
        train_dataset=to_trl(stream, args),
        processing_class=tokenizer(),
        callbacks=[OffsetCallback(stream)],
    )


def losses(trainer: SFTTrainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_the_model_sees_the_segments(folder: Path, tmp_path: Path) -> None:
    trainer = trainer_on(folder, config(tmp_path))
    check_trainer(trainer)
    seen = watch(trainer.model)

    trainer.train()

    batches = [call for call in seen if "labels" in call]
    assert len(batches) == 4
    for step, batch in enumerate(batches):
        sequences = [marked(step * ROWS + number) for number in range(ROWS)]
        lengths = np.concatenate([sequence.segment_lengths_S for sequence in sequences])
        flags = np.concatenate([sequence.segment_flags_S for sequence in sequences])
        assert np.flatnonzero(batch["position_ids"][0] == 0).tolist() == (np.cumsum(lengths) - lengths).tolist()
        assert batch["cu_seq_lens_q"].tolist() == [0, *np.cumsum(lengths)]
        assert "attention_mask" not in batch
        without_target = sum(length if flag & NO_LOSS else 1 for length, flag in zip(lengths, flags, strict=True))
        assert int((batch["labels"] == -100).sum()) == without_target


def test_a_resumed_run_is_the_run_that_was_not_stopped(folder: Path, tmp_path: Path, given: list[int]) -> None:
    whole = trainer_on(folder, config(tmp_path))
    whole.train()
    assert json.loads((tmp_path / "checkpoint-2" / "curatord_stream.json").read_text())["next_seq_no"] == 2 * ROWS
    second = trainer_on(folder, config(tmp_path))
    given.clear()  # of the first row, at which SFTTrainer looks when it is made
    seen = watch(second.model)

    second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))

    assert losses(second) == losses(whole)
    assert [n for call in seen for n in numbers(call["input_ids"])] == list(range(2 * ROWS, 4 * ROWS))
    assert given == list(range(2 * ROWS, 5 * ROWS))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"packing": True, "max_length": 64}, "packing=True packs rows again"),
        ({"padding_free": False}, "without padding_free=True"),
        ({"max_length": 1024}, "max_length cuts rows"),
        ({"pad_to_multiple_of": 8}, "a document of every padding token"),
        ({"shuffle_dataset": True}, "shuffle_dataset=True"),
        ({"ignore_data_skip": False}, "ignore_data_skip=True"),
        ({"use_cache": True}, "use_cache=True"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_settings_that_would_go_wrong_are_refused(
    folder: Path, tmp_path: Path, setting: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsafeTraining, match=message):
        check_sft_config(config(tmp_path, **setting))
    with pytest.raises(UnsafeTraining, match=message):
        to_trl(PackedStream(folder), config(tmp_path, **setting))


def test_weights_which_its_collator_would_drop_are_refused_or_left_out_knowingly(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "weighted", 12, weighted)
    with pytest.raises(UnsafeTraining, match=r"sequence 0 has weights.*WeightedSFTTrainer"):
        next(iter(to_trl(PackedStream(folder), config(tmp_path))))
    assert "loss_weights" not in next(iter(to_trl(PackedStream(folder), config(tmp_path), weights="ignore")))


def weighted_trainer(folder: Path, args: SFTConfig, *callbacks: TrainerCallback) -> WeightedSFTTrainer:
    stream = PackedStream(folder, prefetch=1)
    return WeightedSFTTrainer(
        model=tiny_llama(),
        args=args,
        train_dataset=to_trl(stream, args, weights="apply"),
        processing_class=tokenizer(),
        callbacks=[OffsetCallback(stream), *callbacks],
    )


@pytest.mark.parametrize("accumulated", [1, 3])
def test_a_step_with_weights_has_the_gradient_of_the_weighted_sum(tmp_path: Path, accumulated: int) -> None:
    folder = make_folder(tmp_path / "weighted", 12, weighted)
    seen: list[bool] = []

    class Look(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
            expected = weighted_gradient([weighted(seq_no) for seq_no in range(ROWS)])
            seen.append(same_gradient(trainer.model, expected))

    args = config(
        tmp_path / "out",
        max_steps=1,
        max_grad_norm=0.0,
        per_device_train_batch_size=ROWS // accumulated,
        gradient_accumulation_steps=accumulated,
        gradient_checkpointing=False,
    )
    trainer = weighted_trainer(folder, args, Look())
    trainer.train()
    assert seen == [True]


@pytest.mark.filterwarnings("ignore:`label_smoothing_factor` is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("setting", "why"), [({"loss_type": "dft"}, "loss_type='dft'"), ({"label_smoothing_factor": 0.1}, "smoothed")]
)
def test_losses_that_weights_cannot_be_multiplied_into_are_refused(
    tmp_path: Path, setting: dict[str, Any], why: str
) -> None:
    folder = make_folder(tmp_path / "weighted", 12, weighted)
    with pytest.raises(UnsafeTraining, match=why):
        weighted_trainer(folder, config(tmp_path / "out", **setting))


def test_what_packing_again_would_do(folder: Path, tmp_path: Path) -> None:
    """The trap is real: without the check, documents would flow into each other."""
    safe, unsafe = config(tmp_path), config(tmp_path, packing=True, max_length=64)
    trainer = SFTTrainer(
        model=tiny_llama(),
        args=unsafe,
        train_dataset=to_trl(PackedStream(folder), safe).take(30),
        processing_class=tokenizer(),
    )

    row = next(iter(trainer.train_dataset))

    # What was a row is now a document; where one ended inside it is unknown.
    assert set(row["seq_lengths"]) <= {len(marked(number).tokens_T) for number in range(30)}
