"""Checkpoints: the newest model in a folder that a trainer writes to, loaded as soon as it is whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curatord.errors import ConfigError

SETTLED_S = 2.0  # a folder whose newest file is younger may still be written
WEIGHTS = ("*.safetensors", "*.bin")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")

Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Found:
    """A folder as `save_pretrained` writes it, and when its newest file was written, in milliseconds since 1970."""

    folder: Path
    version: int


def newest(path: Path, *, before_s: float | None = None) -> Found | None:
    """The newest whole checkpoint: the folder itself, or one below it. None if there is none yet.

    Files that changed after `before_s`, in seconds since 1970, are of one that is being written; without it all count.
    """
    found = []
    for folder in (path, *sorted(child for child in path.glob("*") if child.is_dir())):
        weights = [file for pattern in WEIGHTS for file in folder.glob(pattern)]
        if not (folder / "config.json").exists() or not weights:
            continue
        try:
            written_s = max(file.stat().st_mtime for file in (*weights, folder / "config.json"))
        except FileNotFoundError:  # a trainer deletes old ones meanwhile
            continue
        if before_s is None or written_s <= before_s:
            found.append(Found(folder, int(written_s * 1000)))
    return max(found, key=lambda each: each.version, default=None)


class Checkpoint:
    """A causal language model, with the tokenizer beside it, or else another.

    Raises `ConfigError` if transformers cannot load it, or its vocabulary is smaller than the tokenizer's ids.
    """

    def __init__(self, found: Found, encode: Encode, *, device: str) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # a log has one JSON object a line
        self.version, self.folder = found.version, found.folder
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(found.folder, dtype=torch.float32)
            self.model = model.to(device)
            self._encode = encode
            if any((found.folder / name).exists() for name in TOKENIZER_FILES):
                own = AutoTokenizer.from_pretrained(found.folder)
                self._encode = lambda text: own.encode(text, add_special_tokens=False)
        except Exception as error:  # a damaged file fails in any library on the way
            why = f"{found.folder} holds no causal language model that transformers can load: {error}"
            raise ConfigError(why) from error
        self._vocabulary = int(self.model.get_input_embeddings().weight.shape[0])
        self._length = int(getattr(self.model.config, "max_position_embeddings", 0) or 1 << 30)

    def tokens(self, text: str, most: int) -> NDArray[np.int64]:
        """The first tokens of a text, at most `most` and no more than the model takes. Raises `ConfigError`."""
        ids = np.array(self._encode(text)[: min(most, self._length)], np.int64)
        if len(ids) and int(ids.max()) >= self._vocabulary:
            raise ConfigError(
                f"the model in {self.folder} has a vocabulary of {self._vocabulary:,}, and the tokenizer gives "
                f"{int(ids.max()):,}: save the model's tokenizer beside it, or set [tokenizer] to the one that it knows"
            )
        return ids


class Watch:
    """Looks for a newer checkpoint now and then; the factors and rewards of the old one count until it is loaded."""

    def __init__(self, path: Path, encode: Encode, *, device: str, interval_s: float = 5.0) -> None:
        self._path, self._encode, self._device, self._interval_s = path, encode, device, interval_s
        self._looked_at = -float("inf")
        self._tried = -1

    def look(self, version: int) -> Checkpoint | None:
        """A checkpoint that is newer than `version`, or none. Raises `ConfigError`, once, if it cannot be loaded."""
        now = time.monotonic()
        if now - self._looked_at < self._interval_s:
            return None
        self._looked_at = now
        found = newest(self._path, before_s=time.time() - SETTLED_S)
        if found is None or found.version <= max(version, self._tried):
            return None
        self._tried = found.version
        return Checkpoint(found, self._encode, device=self._device)
