"""Codecs: between text and ids, by our kernels or by the library that the tokenizer comes from.

The ids are the library's either way, and text is always ordinary text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tiktoken
import tokenizers
from numpy.typing import NDArray

from kernels.columns import Ragged, Texts, bounds_of
from packing.bpe import BytePairEncoder

# Characters that tiktoken's regex engine can surely give back.
PART_CHARACTERS = 100_000


class Codec(Protocol):
    """Between text and ids."""

    @property
    def lossless(self) -> bool:
        """Whether decoding gives back every text exactly."""

    def encode(self, texts: Texts, bos: int, eos: int) -> Ragged[np.uint32]:
        """Ids of each document, with `bos` before and `eos` after it where they are not -1."""

    def decode(self, tokens_T: NDArray[np.int64]) -> str:
        """Text of the tokens; control tokens have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BytePairCodec:
    """Our kernels. Control tokens take up the first `shift` ids, or are empty tokens of the encoder."""

    encoder: BytePairEncoder
    shift: int
    lossless: bool = True

    def encode(self, texts: Texts, bos: int, eos: int) -> Ragged[np.uint32]:
        return self.encoder.encode(texts, shift=self.shift, bos=bos, eos=eos)

    def decode(self, tokens_T: NDArray[np.int64]) -> str:
        return self.encoder.bytes_of(tokens_T[tokens_T >= self.shift] - self.shift).decode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class TiktokenCodec:
    """tiktoken itself, for expressions that the kernels do not know.

    Its regex engine gives up on runs of a million characters that an expression may have to give back. A text in which
    it does is encoded in parts of PART_CHARACTERS, each by itself.
    """

    encoding: tiktoken.Encoding
    tokens: Sequence[bytes]
    shift: int
    lossless: bool = True

    def encode(self, texts: Texts, bos: int, eos: int) -> Ragged[np.uint32]:
        ids = [np.array(self._ids(text), np.uint32) + np.uint32(self.shift) for text in texts]
        return _join_ids(ids, bos, eos)

    def _ids(self, text: str) -> list[int]:
        try:
            return self.encoding.encode_ordinary(text)
        except BaseException as error:  # a panic of Rust's is no Exception, and its class cannot be imported
            if type(error).__name__ != "PanicException" or len(text) <= PART_CHARACTERS:
                raise
        parts = [text[start : start + PART_CHARACTERS] for start in range(0, len(text), PART_CHARACTERS)]
        return [token for part in parts for token in self._ids(part)]

    def decode(self, tokens_T: NDArray[np.int64]) -> str:
        return _text_of(tokens_T - self.shift, self.tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFaceCodec:
    """The tokenizers library, for models and normalizers that are not plain byte-level BPE.

    `tokens`, for byte-level BPE, are the bytes of each: the library's own decoder takes the letters of added words for
    the alphabet of the bytes.
    """

    tokenizer: tokenizers.Tokenizer
    lossless: bool
    tokens: Sequence[bytes] | None = None

    def encode(self, texts: Texts, bos: int, eos: int) -> Ragged[np.uint32]:
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return _join_ids([np.array(encoding.ids, np.uint32) for encoding in encodings], bos, eos)

    def decode(self, tokens_T: NDArray[np.int64]) -> str:
        if self.tokens is not None:
            return _text_of(tokens_T, self.tokens)
        text: str = self.tokenizer.decode(tokens_T.tolist(), skip_special_tokens=True)
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedWordsCodec:
    """Byte-level BPE to which words were added: texts that hold one go through the library, all others the kernels."""

    kernels: BytePairCodec
    library: HuggingFaceCodec
    words: tuple[str, ...]

    @property
    def lossless(self) -> bool:
        return self.library.lossless

    def encode(self, texts: Texts, bos: int, eos: int) -> Ragged[np.uint32]:
        holding = [b for b, text in enumerate(texts) if any(word in text for word in self.words)]
        if not holding:
            return self.kernels.encode(texts, bos, eos)
        ids: list[NDArray[np.uint32]] = [np.zeros(0, np.uint32)] * len(texts)
        for codec, rows in ((self.library, holding), (self.kernels, sorted({*range(len(texts))} - {*holding}))):
            for b, tokens in zip(rows, codec.encode(texts.take(rows), -1, -1), strict=True):
                ids[b] = tokens
        return _join_ids(ids, bos, eos)

    def decode(self, tokens_T: NDArray[np.int64]) -> str:
        return self.library.decode(tokens_T)


def _text_of(tokens_T: NDArray[np.int64], tokens: Sequence[bytes]) -> str:
    """The text of tokens; those that are not in the vocabulary spell nothing."""
    known_T = tokens_T[(tokens_T >= 0) & (tokens_T < len(tokens))]
    return b"".join([tokens[token] for token in known_T.tolist()]).decode("utf-8", "replace")


def _join_ids(ids: list[NDArray[np.uint32]], bos: int, eos: int) -> Ragged[np.uint32]:
    """The ids of each document, with BOS and EOS."""
    before = np.array([bos] if bos >= 0 else [], np.uint32)
    after = np.array([eos] if eos >= 0 else [], np.uint32)
    parts = [part for tokens in ids for part in (before, tokens, after)]
    lengths = [len(before) + len(tokens) + len(after) for tokens in ids]
    return Ragged(np.concatenate([np.zeros(0, np.uint32), *parts]), bounds_of(lengths))
