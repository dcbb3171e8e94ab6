"""Encoders: from texts to ids by the library that owns the vocabulary. Text is always ordinary text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.columns import Ragged, bounds_of

# Characters that tiktoken's regex engine can surely give back.
PART_CHARACTERS = 100_000


class Encoder(Protocol):
    """Texts to ids."""

    @property
    def library(self) -> str:
        """Name and version of the library that encodes."""

    def encode(self, texts: Sequence[str]) -> Ragged[np.uint32]:
        """Ids of each text, as the vocabulary numbers them, without BOS and EOS."""


@dataclass(frozen=True, slots=True)
class TiktokenEncoder:
    """tiktoken.

    Its regex engine gives up on runs of a million characters that an expression may have to give back. A text in which
    it does is encoded in parts of PART_CHARACTERS, each by itself.
    """

    encoding: Any

    @classmethod
    def of(cls, tokens: Sequence[bytes], expression: str) -> TiktokenEncoder:
        """Tokens by rank, an empty one where there is none."""
        import tiktoken

        ranks = {token: rank for rank, token in enumerate(tokens) if token}
        encoding = tiktoken.Encoding("vocabulary", pat_str=expression, mergeable_ranks=ranks, special_tokens={})
        encoding._mergeable_ranks = {}  # 8 MB, for what is not asked here
        return cls(encoding)

    @property
    def library(self) -> str:
        return with_version("tiktoken")

    def encode(self, texts: Sequence[str]) -> Ragged[np.uint32]:
        return joined([np.array(self._ids(text), np.uint32) for text in texts])

    def _ids(self, text: str) -> list[int]:
        try:
            ids: list[int] = self.encoding.encode_ordinary(text)
            return ids
        except BaseException as error:
            if not is_panic(error) or len(text) <= PART_CHARACTERS:
                raise
        parts = [text[start : start + PART_CHARACTERS] for start in range(0, len(text), PART_CHARACTERS)]
        return [token for part in parts for token in self._ids(part)]


@dataclass(frozen=True, slots=True)
class HuggingFaceEncoder:
    """The tokenizers library."""

    tokenizer: Any

    @classmethod
    def of(cls, definition: str) -> HuggingFaceEncoder:
        """From the content of a `tokenizer.json`."""
        import tokenizers

        tokenizer = tokenizers.Tokenizer.from_str(definition)
        tokenizer.encode_special_tokens = True
        return cls(tokenizer)

    @property
    def library(self) -> str:
        return with_version("tokenizers")

    def encode(self, texts: Sequence[str]) -> Ragged[np.uint32]:
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return joined([np.array(encoding.ids, np.uint32) for encoding in encodings])


@dataclass(frozen=True, slots=True)
class SentencePieceEncoder:
    """sentencepiece. Its control pieces are never matched in a text."""

    processor: Any

    @property
    def library(self) -> str:
        return with_version("sentencepiece")

    def encode(self, texts: Sequence[str]) -> Ragged[np.uint32]:
        ids = self.processor.encode(list(texts), num_threads=1) if texts else []
        return joined([np.array(of_text, np.uint32) for of_text in ids])


def joined(ids: list[NDArray[np.uint32]]) -> Ragged[np.uint32]:
    """The ids of all texts in one array."""
    return Ragged(np.concatenate([np.zeros(0, np.uint32), *ids]), bounds_of([len(of_text) for of_text in ids]))


def with_version(package: str) -> str:
    """A package with its version, if it was installed with its metadata; a bundle may leave them out."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package


def is_panic(error: BaseException) -> bool:
    """Whether it is a panic of Rust's, which is no Exception and whose class cannot be imported."""
    return type(error).__name__ == "PanicException"
