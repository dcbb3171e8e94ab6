"""From text to token ids, by batch: the user's own tokenizer, or Tekken."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from curatord.errors import ConfigError, first_line
from curatord.no_loss import Ranges
from kernels.columns import Ragged, Texts, join_texts
from ops.hub import hub_file
from packing.codecs import Codec
from packing.fast_encoder import FastEncoder
from packing.no_loss import ranges_of_tokens
from packing.tokenizer_files import is_sentencepiece, tokenizer_file, unreadable
from packing.vocabularies import Vocabulary, read_huggingface, read_sentencepiece, read_tekken, read_tiktoken


class TokenizerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[tokenizer]"""

    name: str = "tekken"
    """`tekken` (131,072 ids, nothing to download), a tiktoken name (`o200k_base`), the path of a `tokenizer.json`,
    `tekken.json` or `tokenizer.model` of SentencePiece or of the folder that holds one, or a model's name on the
    Hugging Face hub. Part of identity."""
    bos: bool = False
    """Whether each document begins with the token that says so. Part of identity."""
    eos: bool = True
    """Whether each document ends with the token that says so; it counts in the document's length. Part of identity."""
    bos_token: str = ""
    """Name of the token that begins a document, where the tokenizer's files do not say."""
    eos_token: str = ""
    """Name of the token that ends a document, where the tokenizer's files do not say."""


@dataclass(frozen=True, slots=True)
class Library:
    """The library that encodes."""

    name: str  # with its version
    slow_because: str  # why fastokens does not, where it cannot; "" also before it is tried

    def __str__(self) -> str:
        slow = f"; fastokens, which is several times faster, does not: {self.slow_because}" if self.slow_because else ""
        return f"{self.name} encodes{slow}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """Text to ids and back. Pure: the same text gives the same ids in any batch and on any thread.

    Text is always ordinary: `</s>` on a page becomes the tokens of its four characters, never the control token.
    """

    name: str
    digest: int  # 64 bits that name the vocabulary, its rules, and BOS and EOS as configured
    vocabulary_size: int  # all ids are below it
    bos_id: int | None  # put before each document; None: nothing is
    eos_id: int | None  # put after each document; None: nothing is
    codec: Codec

    @property
    def dtype(self) -> type[np.uint16] | type[np.uint32]:
        """The smallest type of the two that holds every id."""
        return np.uint16 if self.vocabulary_size <= 1 << 16 else np.uint32

    @property
    def lossless(self) -> bool:
        """Whether decoding gives back every text exactly.

        Byte-level BPE does. Tokenizers that normalise their text (NFC, lower case, a space put in front, white
        space collapsed) or have an unknown token do not, and decode to the text as they read it.
        """
        return self.codec.lossless

    @property
    def library(self) -> Library:
        """The library that encodes at present: fastokens comes in when enough text has come by."""
        encoder = self.codec.encoder
        return Library(encoder.library, encoder.slow_because if isinstance(encoder, FastEncoder) else "")

    def settle(self) -> Library:
        """Decide now which library encodes, and check it against the vocabulary's own."""
        encoder = self.codec.encoder
        if isinstance(encoder, FastEncoder):
            encoder.settle()
        return self.library

    def encode_batch(self, texts: Texts) -> Ragged[Any]:
        """Ids of each document, of `dtype`, BOS and EOS included."""
        bos = -1 if self.bos_id is None else self.bos_id
        eos = -1 if self.eos_id is None else self.eos_id
        tokens = self.codec.encode(texts, bos, eos)
        return Ragged(tokens.values_T.astype(np.uint16), tokens.bounds_B1) if self.dtype is np.uint16 else tokens

    def decode(self, tokens_T: NDArray[np.integer] | Sequence[int]) -> str:
        """Text of tokens; BOS, EOS and other control tokens have none.

        The exact inverse of `encode_batch` where `lossless`. Of a part of a document, a character that is cut at
        either end becomes U+FFFD.
        """
        return self.codec.decode(np.asarray(tokens_T, np.int64))

    def ranges_of_tokens(self, tokens_T: NDArray[np.integer], text: str, bytes_R2: NDArray[np.integer]) -> Ranges:
        """The tokens of a document, BOS and EOS included, that have a byte in one of these ranges of its text.

        All of them where a library does not say which token stands for which characters.
        """
        framed_T = np.asarray(tokens_T, np.int64)
        first, end = int(self.bos_id is not None), len(framed_T) - int(self.eos_id is not None)
        ends_T = self.codec.ends(framed_T[first:end], text)
        if ends_T is None:
            return np.array([[0, len(framed_T)]], np.uint32)
        return ranges_of_tokens(ends_T, bytes_R2) + np.uint32(first)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A text that a tokenizer does not give back, and the one that it gives instead."""

    text: str
    decoded: str


# Each loses something else: case and spaces before signs, runs of spaces and line ends, composed and compatible
# characters, characters that few vocabularies have, signs that stand for spaces, controls.
_PROBES = (
    "Hello, World!", "a  b\n\tc", "e\u0301 Café", "½ ﬁ ①", "東京 🦩", "\u2581a \u0120b", " a ", "a\0b",
)  # fmt: skip


def example_of_loss(tokenizer: Tokenizer) -> Loss | None:
    """A text that comes back as another; None if the tokenizer gives all of the usual kinds back."""
    if tokenizer.lossless:
        return None
    for text in _PROBES:
        decoded = tokenizer.decode(tokenizer.encode_batch(join_texts([text])).values_T)
        if decoded != text:
            return Loss(text=text, decoded=decoded)
    return None


def loss_of_text(tokenizer: Tokenizer) -> str:
    """The warning about a tokenizer that is not lossless, with an example."""
    loss = example_of_loss(tokenizer)
    example = f"{loss.text!r} comes back as {loss.decoded!r}" if loss else "no example is known"
    return (
        f"tokenizer {tokenizer.name} does not give every text back: {example}. What is lost there is lost to training; "
        "byte-level tokenizers, such as tekken, lose nothing"
    )


def open_tokenizer(config: TokenizerConfig) -> Tokenizer:
    """The tokenizer that the configuration names.

    Raises:
        ConfigError: it cannot be found or read, or BOS or EOS is wanted and there is no such token.
    """
    vocabulary = _read(config)
    bos_id = _control_id(config, vocabulary, "bos") if config.bos else None
    eos_id = _control_id(config, vocabulary, "eos") if config.eos else None
    framing = f"bos={bos_id} eos={eos_id}".encode()
    return Tokenizer(
        name=config.name,
        digest=xxhash.xxh3_64_intdigest(vocabulary.digest + framing),
        vocabulary_size=vocabulary.size,
        bos_id=bos_id,
        eos_id=eos_id,
        codec=vocabulary.codec,
    )


def _control_id(config: TokenizerConfig, vocabulary: Vocabulary, which: str) -> int:
    """Id of the token that begins (`bos`) or ends (`eos`) a document."""
    wanted = config.bos_token if which == "bos" else config.eos_token
    if wanted:
        if wanted in vocabulary.ids:
            return vocabulary.ids[wanted]
        known = ", ".join(list(vocabulary.ids)[:8]) or "none"
        raise ConfigError(f"tokenizer.{which}_token = {wanted!r} is no control token of {config.name}; it has: {known}")
    token_id = vocabulary.bos_id if which == "bos" else vocabulary.eos_id
    if token_id is None:
        raise ConfigError(
            f"tokenizer {config.name} does not say which token {'begins' if which == 'bos' else 'ends'} a document; "
            f"name it with tokenizer.{which}_token, or set tokenizer.{which} = false"
        )
    return token_id


def _read(config: TokenizerConfig) -> Vocabulary:
    """The vocabulary behind any of the names that the configuration takes."""
    name = config.name
    if name == "tekken":
        return read_tekken()
    path = Path(name).expanduser()
    if path.exists():
        return _read_file(path, config)
    if path.suffix == ".json" or path.is_absolute() or name.startswith((".", "~")):
        raise ConfigError(f"tokenizer.name = {name!r}: no such file or folder")
    import tiktoken

    if name in tiktoken.list_encoding_names():
        try:
            return read_tiktoken(tiktoken.get_encoding(name))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"tiktoken's {name} is not on this machine and could not be fetched ({first_line(error)}); fetch it "
                f"once where there is a network and point TIKTOKEN_CACHE_DIR to it, or set tokenizer.name to a file"
            ) from error
    return _read_file(_fetch(name), config)


def _read_file(path: Path, config: TokenizerConfig) -> Vocabulary:
    """A vocabulary from a file, or from the folder that holds it."""
    path = tokenizer_file(path)
    try:
        if path.name.startswith("tekken"):
            return read_tekken(path)
        if is_sentencepiece(path):
            return read_sentencepiece(path)
        return read_huggingface(path, named=(config.bos_token, config.eos_token))
    except ConfigError:
        raise
    # The tokenizers library raises bare Exception.
    except Exception as error:
        raise unreadable(path, error) from error


def _fetch(name: str) -> Path:
    """`tokenizer.json` of a model on the hub, from the hub's cache if it is there."""
    from huggingface_hub.errors import EntryNotFoundError

    try:
        path = hub_file(name, "tokenizer.json")
    except Exception as error:
        raise ConfigError(
            f"tokenizer.name = {name!r} is no file, no tiktoken name, and could not be had from the Hugging Face hub "
            f'({first_line(error)}); download its tokenizer.json and give the path, or use "tekken", which needs no '
            "network"
        ) from error
    # It names EOS; not every model has it.
    with contextlib.suppress(EntryNotFoundError, OSError):
        hub_file(name, "tokenizer_config.json")
    return path
