"""Parts of `make live` that need no broker: what arrives, the loss on a reference, and the picture."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from examples.live_crawl import KINDS, crawl
from examples.live_picture import draw, reference_losses, tokens_by_kind
from tests.curation.scoring.models import save_model

TEXTS = ["one text of some words", "two texts of many more words"]


def test_kinds_arrive_in_equal_shares_and_by_the_seed_alone() -> None:
    first, again, other = (list(islice(crawl(TEXTS * 20, seed), 80)) for seed in (0, 0, 1))
    assert first == again != other
    assert [row["id"].partition("/")[0] for row in first] == list(KINDS) * 20
    assert len({row["id"] for row in first}) == 80


def test_the_reference_loss_is_that_of_each_checkpoint(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator([], trainers.BpeTrainer(vocab_size=258, initial_alphabet=alphabet))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for step in (20, 100):
        save_model(tmp_path / "models" / f"step-{step}")
    losses = reference_losses(tmp_path / "models", tmp_path / "tokenizer.json", 64, TEXTS)
    assert list(losses) == [20, 100]
    assert losses[20] == losses[100] == pytest.approx(5.55, abs=0.3)  # ln 258, for a model that knows nothing


def test_the_picture_shows_every_run_of_the_folder(tmp_path: Path) -> None:
    for arm, seed in (("influence", 0), ("influence", 1), ("none", 0)):
        run = tmp_path / f"{arm}-{seed}"
        run.mkdir()
        (run / "reference.json").write_text(json.dumps({"20": 5.0, "40": 4.0 + seed}))
        documents = [[f"{kind}/{n}", 0, 10 + n, 1.0] for n, kind in enumerate(KINDS)]
        lines = [json.dumps({"step": step, "documents": documents}) for step in range(40)]
        (run / "train.0.jsonl").write_text("\n".join(lines) + "\n")
    assert tokens_by_kind(tmp_path, "influence")[0] == {kind: 200 + 20 * n for n, kind in enumerate(KINDS)}
    draw(tmp_path, ["influence", "none"])
    assert (tmp_path / "live.png").stat().st_size > 10_000
