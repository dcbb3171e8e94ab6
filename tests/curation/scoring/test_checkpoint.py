from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from curation.scoring.checkpoint import Checkpoint, Found, Watch, newest
from curatord.errors import ConfigError
from tests.curation.scoring.models import byte_tokens, save_model


def test_the_newest_whole_checkpoint_counts(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    save_model(tmp_path / "checkpoint-900", written_s=1000.0)
    save_model(tmp_path / "checkpoint-1000", written_s=2000.5)
    (tmp_path / "checkpoint-1100").mkdir()
    (tmp_path / "checkpoint-1100" / "config.json").write_text("{}")
    assert newest(tmp_path) == Found(tmp_path / "checkpoint-1000", 2_000_500)
    assert newest(tmp_path, before_s=1999.0) == Found(tmp_path / "checkpoint-900", 1_000_000)
    assert newest(tmp_path / "checkpoint-900") == Found(tmp_path / "checkpoint-900", 1_000_000)


def test_a_newer_checkpoint_is_loaded_once_it_is_whole(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_model(tmp_path / "a", written_s=1000.0)
    capfd.readouterr()
    watch = Watch(tmp_path, byte_tokens, device="cpu", interval_s=0.0)
    first = watch.look(-1)
    assert first is not None
    assert first.version == 1_000_000
    assert capfd.readouterr().err == "", "a log has a JSON object a line"
    assert watch.look(first.version) is None
    save_model(tmp_path / "b", written_s=time.time())  # may still be written
    assert watch.look(first.version) is None
    for file in (tmp_path / "b").iterdir():
        os.utime(file, (3000.0, 3000.0))
    second = watch.look(first.version)
    assert second is not None
    assert second.folder == tmp_path / "b"


def test_a_checkpoint_that_cannot_be_loaded_is_told_of_once(tmp_path: Path) -> None:
    save_model(tmp_path, written_s=1000.0)
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    os.utime(tmp_path / "model.safetensors", (1000.0, 1000.0))
    watch = Watch(tmp_path, byte_tokens, device="cpu", interval_s=0.0)
    with pytest.raises(ConfigError, match="no causal language model"):
        watch.look(-1)
    assert watch.look(-1) is None


def test_tokens_are_the_lanes_or_those_of_a_tokenizer_beside_the_model(tmp_path: Path) -> None:
    save_model(tmp_path)
    found = newest(tmp_path)
    lanes = Checkpoint(found, byte_tokens, device="cpu")
    assert lanes.tokens("ab", 10).tolist() == [256, 97, 98, 257]
    assert len(lanes.tokens("a" * 1000, 1000)) == 64  # no more than the model takes
    tokenizer = Tokenizer(models.WordLevel({"one": 5, "two": 6}, unk_token="one"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(tmp_path)
    assert Checkpoint(found, byte_tokens, device="cpu").tokens("two one", 10).tolist() == [6, 5]


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path)
    checkpoint = Checkpoint(newest(tmp_path), lambda text: [1, 999], device="cpu")
    with pytest.raises(ConfigError, match="vocabulary of 258"):
        checkpoint.tokens("a", 10)
