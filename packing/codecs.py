"""Codecs: between texts and tokens, BOS and EOS included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.columns import Ragged, Texts
from packing.encoders import Encoder


class Decoder(Protocol):
    """Tokens to text."""

    def decode(self, tokens_T: NDArray[np.int64]) -> str:
        """Text of the tokens; control tokens and those that are not in the vocabulary have none."""

    def ends(self, tokens_T: NDArray[np.int64], text: str) -> NDArray[np.int64] | None:
        """Where each token of a text ends in its UTF-8, (T,); None if these are not the text's tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """An encoder and its inverse. Control tokens take up the first `shift` ids."""

    encoder: Encoder
    decoder: Decoder
    lossless: bool  # whether decoding gives back every text exactly
    shift: int = 0

    def encode(self, texts: Texts, bos: int, eos: int) -> Ragged[np.uint32]:
        """Ids of each document, with `bos` before and `eos` after it where they are not -1."""
        return _framed(self.encoder.encode(list(texts)), np.uint32(self.shift), bos, eos)

    def decode(self, tokens_T: NDArray[np.int64]) -> str:
        """Text of the tokens; control tokens have none."""
        return self.decoder.decode(tokens_T - self.shift)

    def ends(self, tokens_T: NDArray[np.int64], text: str) -> NDArray[np.int64] | None:
        """Where each token of a text ends in its UTF-8, (T,), of a document without BOS and EOS; None if unknown."""
        return self.decoder.ends(tokens_T - self.shift, text)


@dataclass(frozen=True, slots=True)
class BytesDecoder:
    """Of vocabularies whose tokens are bytes: they are put together."""

    tokens: Sequence[bytes]

    def decode(self, tokens_T: NDArray[np.int64]) -> str:
        known_T = tokens_T[(tokens_T >= 0) & (tokens_T < len(self.tokens))]
        return b"".join([self.tokens[token] for token in known_T.tolist()]).decode("utf-8", "replace")

    def ends(self, tokens_T: NDArray[np.int64], text: str) -> NDArray[np.int64] | None:
        lengths_T = np.array([len(self.tokens[token]) for token in tokens_T.tolist()], np.int64)
        return np.cumsum(lengths_T) if lengths_T.sum() == len(text.encode()) else None


@dataclass(frozen=True, slots=True)
class HuggingFaceDecoder:
    """The tokenizers library."""

    tokenizer: Any

    def decode(self, tokens_T: NDArray[np.int64]) -> str:
        text: str = self.tokenizer.decode(tokens_T.tolist(), skip_special_tokens=True)
        return text

    def ends(self, tokens_T: NDArray[np.int64], text: str) -> NDArray[np.int64] | None:
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        return _ends_in_bytes(text, [end for _, end in encoding.offsets]) if encoding.ids == tokens_T.tolist() else None


@dataclass(frozen=True, slots=True)
class SentencePieceDecoder:
    """sentencepiece."""

    processor: Any

    def decode(self, tokens_T: NDArray[np.int64]) -> str:
        known_T = tokens_T[(tokens_T >= 0) & (tokens_T < self.processor.get_piece_size())]
        text: str = self.processor.decode(known_T.tolist())
        return text

    def ends(self, tokens_T: NDArray[np.int64], text: str) -> NDArray[np.int64] | None:
        found = self.processor.encode(text, return_type="offset_mapping")
        return _ends_in_bytes(text, [end for _, end in found["offsets"]]) if found["ids"] == tokens_T.tolist() else None


def _ends_in_bytes(text: str, ends: Sequence[int]) -> NDArray[np.int64]:
    """Places in characters as places in UTF-8, none before the one before it."""
    code_points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    limits = np.array([0x80, 0x800, 0x10000])
    places = np.concatenate(([0], np.cumsum(1 + np.searchsorted(limits, code_points, "right"))))
    found: NDArray[np.int64] = np.maximum.accumulate(places[ends]) if len(ends) else np.zeros(0, np.int64)
    return found


def _framed(tokens: Ragged[np.uint32], shift: np.uint32, bos: int, eos: int) -> Ragged[np.uint32]:
    """The tokens of each document, raised by `shift`, between BOS and EOS."""
    num_added = int(bos >= 0) + int(eos >= 0)
    bounds_B1 = tokens.bounds_B1 + num_added * np.arange(len(tokens.bounds_B1))
    if not num_added:
        return Ragged(tokens.values_T + shift, bounds_B1)
    framed_T = np.empty(bounds_B1[-1], np.uint32)
    if bos >= 0:
        framed_T[bounds_B1[:-1]] = bos
    if eos >= 0:
        framed_T[bounds_B1[1:] - 1] = eos
    starts_B = bounds_B1[:-1] + int(bos >= 0)
    for start, ids_T in zip(starts_B.tolist(), tokens, strict=True):
        np.add(ids_T, shift, out=framed_T[start : start + len(ids_T)])
    return Ragged(framed_T, bounds_B1)
