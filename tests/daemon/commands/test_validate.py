"""Warnings about the tokenizer, from `validate` and from the run after it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.daemon.conftest import CONFIG, Run, write_documents


@pytest.fixture
def lossy(tmp_path: Path) -> Path:
    """A configuration with a tokenizer that knows words and signs, and drops the spaces between them."""
    words = ["[UNK]", "</s>", "Hello", ",", "World", "!"]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[UNK]", "</s>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    config = tmp_path / "lossy.toml"
    config.write_text(f'{CONFIG}[tokenizer]\nname = "{tmp_path / "tokenizer.json"}"\n')
    return config


def test_a_tokenizer_that_loses_text_is_warned_of_with_an_example_before_and_after_a_run(
    run: Run, tmp_path: Path, lossy: Path
) -> None:
    checked = run("validate", "-c", lossy)
    output = tmp_path / "output"
    curated = run("curate", write_documents(tmp_path / "documents.jsonl", range(100)), "-o", output, "-c", lossy)

    manifest = json.loads((output / ".curatord" / "manifest.json").read_bytes())
    assert checked.exit_code == curated.exit_code == 0
    assert "warning: tokenizer" in checked.output
    assert "'Hello, World!' comes back as 'Hello , World !'" in checked.output
    assert "does not give every text back: 'Hello, World!' comes back as 'Hello , World !'" in curated.output
    assert manifest["lossless"] is False
    assert manifest["loss"] == {"text": "Hello, World!", "decoded": "Hello , World !"}


def test_a_tokenizer_that_loses_nothing_is_not_warned_of(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "tekken.toml"
    config.write_text(CONFIG)

    checked = run("validate", "-c", config)

    assert checked.exit_code == 0
    assert "warning: tokenizer" not in checked.output
    assert re.search(r"EOS 2; fastokens [\d.]+ encodes\n", checked.output)


def test_the_library_that_encodes_is_named_with_what_keeps_the_fast_one_from_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fastokens._native", None)
    config = tmp_path / "tekken.toml"
    config.write_text(CONFIG)

    checked = run("validate", "-c", config, "--no-environment")

    assert checked.exit_code == 0
    assert re.search(r"; tiktoken [\d.]+ encodes; fastokens, .* does not: fastokens is not installed", checked.output)
