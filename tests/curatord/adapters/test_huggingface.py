"""transformers.Trainer on a stream: resuming costs nothing and changes nothing, and what would go wrong is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    DataCollatorWithFlattening,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)

from curatord.adapters.huggingface import (
    STATE_FILE,
    OffsetCallback,
    WeightedTrainer,
    check_trainer,
    collate,
    to_hf,
)
from curatord.errors import ForeignStream, StreamError, UnsafeTraining
from curatord.stream import PackedStream
from tests.curatord.adapters.streams import (
    make_folder,
    numbers,
    same_gradient,
    tiny_llama,
    watch,
    weighted,
    weighted_gradient,
)

ROWS, ACCUMULATION = 2, 2
STEP = ROWS * ACCUMULATION


def arguments(output: Path, **changes: Any) -> TrainingArguments:
    safe = {
        "output_dir": str(output),
        "max_steps": 10,
        "per_device_train_batch_size": ROWS,
        "gradient_accumulation_steps": ACCUMULATION,
        "ignore_data_skip": True,
        "accelerator_config": {"dispatch_batches": False},
        "logging_steps": 1,
        "save_steps": 5,
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    return TrainingArguments(**{**safe, **changes})


def trainer_on(folder: Path, args: TrainingArguments, **changes: Any) -> Trainer:
    stream = PackedStream(folder, prefetch=1)
    parts = {
        "model": tiny_llama(),
        "args": args,
        "train_dataset": to_hf(stream, args),
        "data_collator": collate,
        "callbacks": [OffsetCallback(stream)],
    }
    return Trainer(**{**parts, **changes})


def losses(trainer: Trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_run_is_the_run_that_was_not_stopped(
    folder: Path, tmp_path: Path, given: list[int], workers: int
) -> None:
    args = arguments(tmp_path, dataloader_num_workers=workers)
    whole = trainer_on(folder, args)
    check_trainer(whole)
    whole.train()
    given.clear()
    second = trainer_on(folder, args)
    seen = watch(second.model)

    second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))

    assert len(losses(whole)) == 10
    assert losses(second) == losses(whole)  # the first five are those of the checkpoint
    assert [n for batch in seen for n in numbers(batch["input_ids"])] == list(range(5 * STEP, 10 * STEP))
    if not workers:
        # Nothing twice: what was left, and the one step that accelerate looks ahead.
        assert given == list(range(5 * STEP, 11 * STEP))


def test_the_dataset_goes_to_workers_that_are_started_anew(folder: Path, tmp_path: Path) -> None:
    dataset = to_hf(PackedStream(folder), arguments(tmp_path))

    assert numbers(next(iter(pickle.loads(pickle.dumps(dataset))))["input_ids"]) == [0]


def test_a_resume_may_change_the_batch(folder: Path, tmp_path: Path) -> None:
    trainer_on(folder, arguments(tmp_path, max_steps=5)).train()
    assert json.loads((tmp_path / "checkpoint-5" / STATE_FILE).read_text())["next_seq_no"] == 5 * STEP
    args = arguments(tmp_path, max_steps=7, per_device_train_batch_size=1, save_steps=1)
    trainer = trainer_on(folder, args)
    seen = watch(trainer.model)

    trainer.train(resume_from_checkpoint=True)

    assert [n for batch in seen for n in numbers(batch["input_ids"])] == list(range(20, 24))
    assert json.loads((tmp_path / "checkpoint-7" / STATE_FILE).read_text())["next_seq_no"] == 24


def test_training_stops_where_the_stream_ends(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "short", 4 * STEP + 3)  # no whole number of steps
    trainer = trainer_on(folder, arguments(tmp_path, save_steps=2))
    seen = watch(trainer.model)

    trainer.train()

    assert [n for batch in seen for n in numbers(batch["input_ids"])] == list(range(4 * STEP))
    assert trainer.state.global_step == 4
    # What no step took is left for a run that goes on when there is more.
    assert json.loads((tmp_path / "checkpoint-4" / STATE_FILE).read_text())["next_seq_no"] == 4 * STEP


def test_the_daemon_hears_of_the_oldest_checkpoint(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[int] = []
    monkeypatch.setattr(PackedStream, "release", lambda self, state: released.append(state["next_seq_no"]))
    args = arguments(tmp_path, max_steps=4, save_steps=1, save_total_limit=2)
    stream = PackedStream(folder, run_id="run", feedback="kafka://nowhere:9092/feedback")

    trainer_on(folder, args, callbacks=[OffsetCallback(stream)], train_dataset=to_hf(stream, args)).train()
    assert released == [4, 4, 8, 12]  # two checkpoints are kept

    trainer_on(folder, arguments(tmp_path / "other", max_steps=1, save_steps=1)).train()
    assert len(released) == 4  # without a run_id there is no lane to tell


def test_a_checkpoint_elsewhere_has_to_be_named(folder: Path, tmp_path: Path) -> None:
    trainer_on(folder, arguments(tmp_path / "a", max_steps=5)).train()
    checkpoint = tmp_path / "a" / "checkpoint-5"
    args = arguments(tmp_path / "b", max_steps=6)

    with pytest.raises(StreamError, match=r"name the checkpoint's folder, OffsetCallback\(stream, checkpoint="):
        trainer_on(folder, args).train(resume_from_checkpoint=str(checkpoint))
    stream = PackedStream(folder)
    trainer = trainer_on(
        folder, args, callbacks=[OffsetCallback(stream, checkpoint=checkpoint)], train_dataset=to_hf(stream, args)
    )
    seen = watch(trainer.model)
    trainer.train(resume_from_checkpoint=str(checkpoint))
    assert numbers(seen[0]["input_ids"]) == [20, 21]

    (checkpoint / STATE_FILE).write_text('{"next": 3}')
    with pytest.raises(StreamError, match="no state of a PackedStream"):
        trainer_on(folder, arguments(tmp_path / "a", max_steps=6)).train(resume_from_checkpoint=True)
    (checkpoint / STATE_FILE).write_text('{"generation": 0, "next_seq_no": 20, "tokenizer_digest": "00000000000000aa"}')
    with pytest.raises(ForeignStream, match="tokenizer"):
        trainer_on(folder, arguments(tmp_path / "a", max_steps=6)).train(resume_from_checkpoint=True)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"use_cache": True}, "use_cache=True lets every document see"),
        ({"ignore_data_skip": False}, "ignore_data_skip=True"),
        ({"accelerator_config": {"split_batches": True}}, "every rank would read everything"),
        ({"train_sampling_strategy": "group_by_length"}, "train_sampling_strategy='group_by_length'"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size"),
        ({"dataloader_persistent_workers": True, "dataloader_num_workers": 1}, "dataloader_persistent_workers"),
        ({"max_steps": -1}, "give max_steps"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_arguments_that_would_go_wrong_are_refused(
    folder: Path, tmp_path: Path, setting: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsafeTraining, match=message):
        to_hf(PackedStream(folder), arguments(tmp_path, **setting))


def test_rank_0_must_not_read_for_all(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = arguments(tmp_path, accelerator_config=None)
    to_hf(PackedStream(folder), args)  # one rank is always rank 0

    monkeypatch.setattr(TrainingArguments, "world_size", 2)
    with pytest.raises(UnsafeTraining, match="dispatch_batches"):
        to_hf(PackedStream(folder, rank=0, world=2), args)


def masking(rows: list[Any]) -> dict[str, torch.Tensor]:
    batch = collate(rows)
    return {**batch, "attention_mask": torch.ones_like(batch["input_ids"])}


def without_positions(rows: list[Any]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in collate(rows).items() if name != "position_ids"}


@pytest.mark.parametrize(
    ("collator", "message"),
    [
        (masking, "an attention_mask overrides the positions"),
        (without_positions, "position_ids, from which the model knows"),
        (DataCollatorWithFlattening(), "position_ids, from which the model knows"),
        (lambda rows: rows[0]["text"], "cannot take rows of a stream"),
    ],
    ids=["mask", "no positions", "flattening", "text"],
)
def test_collators_that_would_go_wrong_are_refused(folder: Path, tmp_path: Path, collator: Any, message: str) -> None:
    trainer = trainer_on(folder, arguments(tmp_path), data_collator=collator)

    with pytest.raises(UnsafeTraining, match=message):
        check_trainer(trainer)
    with pytest.raises(UnsafeTraining, match=message):
        trainer.train()
    check_trainer(trainer_on(folder, arguments(tmp_path), data_collator=default_data_collator))


def test_models_that_would_go_wrong_are_refused(folder: Path, tmp_path: Path) -> None:
    trainer = trainer_on(folder, arguments(tmp_path))
    trainer.model.config.use_cache = True
    with pytest.raises(UnsafeTraining, match=r"model\.config\.use_cache"):
        check_trainer(trainer)

    trainer = trainer_on(folder, arguments(tmp_path))
    trainer.model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(UnsafeTraining, match="flash_attention_2 sees documents only in a batch of one row"):
        check_trainer(trainer)

    class NoPositions(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> None: ...

    # The Trainer drops what forward() does not name before a collator sees it.
    with pytest.raises(UnsafeTraining, match="remove_unused_columns=False"):
        check_trainer(trainer_on(folder, arguments(tmp_path), model=NoPositions()))


def test_ranks_that_are_not_those_of_the_training_are_refused(folder: Path, tmp_path: Path) -> None:
    args = arguments(tmp_path)
    stream = PackedStream(folder, rank=0, world=2)

    with pytest.raises(UnsafeTraining, match="the ranks of the stream are not those of the training"):
        check_trainer(trainer_on(folder, args, train_dataset=to_hf(stream, args)))


def test_checkpoints_without_the_place_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsafeTraining, match=r"add_callback\(OffsetCallback\(stream\)\)"):
        check_trainer(trainer_on(folder, arguments(tmp_path), callbacks=[]))
    check_trainer(trainer_on(folder, arguments(tmp_path, save_strategy="no"), callbacks=[]))


def test_all_faults_are_named_at_once(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsafeTraining) as caught:
        to_hf(PackedStream(folder), arguments(tmp_path, ignore_data_skip=False, use_cache=True))

    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_a_step_with_weights_has_the_gradient_of_the_weighted_sum(tmp_path: Path, workers: int) -> None:
    folder = make_folder(tmp_path / "weighted", 12, weighted)
    args = arguments(
        tmp_path / "out", max_steps=1, remove_unused_columns=False, max_grad_norm=0.0, dataloader_num_workers=workers
    )
    stream, model = PackedStream(folder), tiny_llama()
    seen: list[bool] = []

    class Look(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
            seen.append(same_gradient(model, weighted_gradient([weighted(seq_no) for seq_no in range(STEP)])))

    dataset = to_hf(stream, args, weights="apply")
    callbacks = [OffsetCallback(stream), Look()]
    WeightedTrainer(model, args, data_collator=collate, train_dataset=dataset, callbacks=callbacks).train()
    assert seen == [True]


def test_weights_are_refused_or_left_out_knowingly(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "weighted", 12, weighted)
    args = arguments(tmp_path / "out")
    with pytest.raises(UnsafeTraining, match="remove_unused_columns=False"):
        to_hf(PackedStream(folder), args, weights="apply")
    with pytest.raises(UnsafeTraining, match="sequence 0 has weights"):
        next(iter(to_hf(PackedStream(folder), args)))
    assert "loss_weights" not in next(iter(to_hf(PackedStream(folder), args, weights="ignore")))
