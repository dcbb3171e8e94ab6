r"""Byte-level BPE with the reference's ids and without the reference in the hot path.

The kernels know three families of splitting expressions; `PATTERNS` lists the expressions, character for character
as tokenizers write them. A tokenizer with another expression goes through its own library instead.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import tiktoken
from numpy.typing import NDArray

from kernels import bpe as kernels
from kernels import pieces
from kernels.columns import Ragged, Texts
from ops.memory import lookup_table

_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_R50K = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# expression -> (family, contractions, digits a piece, white space stays whole at the end of the text)
PATTERNS: dict[str, tuple[int, int, int, int]] = {
    _TEKKEN: (pieces.CASED, 0, 1, 0),
    _O200K: (pieces.CASED, 1, 3, 0),
    _CL100K: (pieces.UNCASED, 1, 3, 1),
    _LLAMA3: (pieces.UNCASED, 1, 3, 0),
    _LLAMA3.replace("{1,3}", ""): (pieces.UNCASED, 1, 1, 0),  # Qwen 2 and 3
    _R50K: (pieces.GPT2, 1, 0, 0),
    GPT2: (pieces.GPT2, 1, 0, 0),
}

# Oniguruma, the engine of the tokenizers library, reads `{1,3}+` and `$` differently.
ONIGURUMA_PATTERNS = frozenset(PATTERNS) - {_CL100K, _R50K}

# Class of the kernels -> the expression that names it. What is in none of them is OTHER.
_CLASSES = {
    pieces.UPPER: r"[\p{Lu}\p{Lt}]",
    pieces.LOWER: r"\p{Ll}",
    pieces.LETTER: r"[\p{Lm}\p{Lo}]",
    pieces.MARK: r"\p{M}",
    pieces.NUMBER: r"\p{N}",
    pieces.SPACE: r"\s",
}
_NUM_CODE_POINTS = 0x110000


class RegexEngine(Protocol):
    """The reference's splitter of text."""

    def __call__(self, expression: str, text: str) -> str:
        """The characters of `text` that match a one-character `expression`, in order."""


def tiktoken_engine(expression: str, text: str) -> str:
    """tiktoken's own engine: text between matches gets no token, so what is encoded is what matched."""
    encoding = tiktoken.Encoding(
        "one byte a token", pat_str=expression, mergeable_ranks={bytes([b]): b for b in range(256)}, special_tokens={}
    )
    return bytes(encoding.encode_ordinary(text)).decode()


def character_classes(engine: RegexEngine) -> NDArray[np.uint8]:
    """Class of every code point, as the reference's regex engine sees it, of the Unicode version that it carries."""
    points = np.arange(_NUM_CODE_POINTS, dtype=np.uint32)
    # Unicode has never put a letter, mark, number or space beyond these planes: they are empty or for private use.
    asked = (points < 0xD800) | ((points > 0xDFFF) & (points < 0x40000)) | (points >> 16 == 0xE)
    text = points[asked].tobytes().decode("utf-32-le")
    classes = np.full(_NUM_CODE_POINTS, pieces.OTHER, np.uint8)
    for kind, expression in _CLASSES.items():
        classes[np.frombuffer(engine(expression, text).encode("utf-32-le"), np.uint32)] = kind
    classes[[10, 13]] = pieces.NEWLINE
    return classes


def _room(num_entries: int) -> int:
    """Power of two that `num_entries` fill to at most a half."""
    return 1 << max(4, (2 * num_entries).bit_length())


@dataclass(frozen=True, slots=True, kw_only=True)
class BytePairEncoder:
    """The tables of one vocabulary; read-only, so any number of threads may encode with it.

    Ids here are those of the vocabulary, dense from 0, without special tokens (a special token is an empty one).
    """

    pattern: tuple[int, int, int, int]
    classes: NDArray[np.uint8]  # of every code point
    blob: NDArray[np.uint8]  # bytes of all tokens, and padding
    token_starts: NDArray[np.int64]  # of each token in the blob, and one more
    slots: NDArray[np.uint64]  # open-addressing table of whole pieces
    pairs: NDArray[np.uint64]  # open-addressing table of merges
    pair_bits: NDArray[np.uint64]  # filter before it
    byte_ids: NDArray[np.uint32]  # token of each byte
    byte_ranks: NDArray[np.uint32]  # merges of two bytes
    merged_ids: NDArray[np.uint32]  # rank of a merge -> the token it makes
    memos: threading.local = field(default_factory=threading.local)

    @classmethod
    def from_ranks(cls, tokens: Sequence[bytes], expression: str, engine: RegexEngine) -> BytePairEncoder:
        """tiktoken's definition: the rank of a merge is the id of the token it makes, and every token is a piece.

        Raises:
            KeyError: `expression` is not in PATTERNS.
            ValueError: the vocabulary lacks a byte, or has too many tokens for the tables.
        """
        blob, token_starts, byte_ids = _vocabulary(tokens)
        slots = lookup_table((_room(len(tokens)) * kernels.SLOT_WORDS,), np.uint64)
        kernels.build_pieces(blob, token_starts, slots)
        merges_M = kernels.find_cuts(blob, token_starts, slots)
        return cls(
            pattern=PATTERNS[expression],
            classes=character_classes(engine),
            blob=blob,
            token_starts=token_starts,
            slots=slots,
            byte_ids=byte_ids,
            merged_ids=np.arange(len(tokens), dtype=np.uint32),
            **_merge_tables(byte_ids, *merges_M),
        )

    @classmethod
    def from_merges(
        cls,
        tokens: Sequence[bytes],
        merges: Sequence[tuple[int, int, int]],
        expression: str,
        engine: RegexEngine,
        *,
        whole_pieces: bool,
    ) -> BytePairEncoder:
        """Hugging Face's definition: merges (left, right, merged) in the order of their ranks.

        `whole_pieces` is its `ignore_merges`: a piece that is a token is that token, without the merges.

        Raises: as `from_ranks`.
        """
        blob, token_starts, byte_ids = _vocabulary(tokens)
        lefts_M, rights_M, merged_ids = np.array(merges, np.uint32).reshape(-1, 3).T.copy()
        tables = _merge_tables(byte_ids, lefts_M, rights_M, np.arange(len(merges), dtype=np.uint32))
        slots = lookup_table((_room(len(tokens)) * kernels.SLOT_WORDS,), np.uint64)
        if whole_pieces:
            kernels.build_pieces(blob, token_starts, slots)
        else:
            kernels.build_merged_pieces(blob, token_starts, slots, byte_ids, merged_ids=merged_ids, **tables)
        return cls(
            pattern=PATTERNS[expression],
            classes=character_classes(engine),
            blob=blob,
            token_starts=token_starts,
            slots=slots,
            byte_ids=byte_ids,
            merged_ids=merged_ids,
            **tables,
        )

    def encode(
        self,
        texts: Texts,
        *,
        shift: int = 0,
        bos: int = -1,
        eos: int = -1,
    ) -> Ragged[np.uint32]:
        """Ids of each document; they are raised by `shift`, BOS and EOS are not."""
        room = int(texts.num_bytes().sum()) + 2 * len(texts)
        tokens_T = np.empty(room, np.uint32)
        offsets_B1 = kernels.encode_documents(
            texts.buffer_N,
            texts.starts_B,
            texts.ends_B,
            self.pattern,
            (shift, bos, eos),
            self.classes,
            self.slots,
            self.blob,
            self.token_starts,
            self.byte_ids,
            self.byte_ranks,
            self.pairs,
            self.pair_bits,
            self.merged_ids,
            self._memo(),
            tokens_T,
        )
        return Ragged(tokens_T[: offsets_B1[-1]].copy(), offsets_B1)

    def _memo(self) -> NDArray[np.uint64]:
        """How pieces merged that this thread has met: speed only, the same pieces merge the same way without it."""
        memo: NDArray[np.uint64] | None = getattr(self.memos, "words", None)
        if memo is None:
            memo = self.memos.words = lookup_table((kernels.MEMO_LINES * kernels.LINE_WORDS,), np.uint64)
        return memo

    def bytes_of(self, ids_T: NDArray[np.int64]) -> bytes:
        """The text of tokens; ids that are not in the vocabulary spell nothing."""
        ids_T = ids_T[ids_T < len(self.token_starts) - 1]
        blob = self.blob.tobytes()
        starts, ends = self.token_starts[ids_T].tolist(), self.token_starts[ids_T + 1].tolist()
        return b"".join([blob[start:end] for start, end in zip(starts, ends, strict=True)])


def _vocabulary(tokens: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint32]]:
    """(blob, token_starts, byte_ids) of a vocabulary."""
    if len(tokens) >= 1 << kernels.ID_BITS:
        raise ValueError(f"{len(tokens):,} tokens; the tables hold {(1 << kernels.ID_BITS) - 1:,}")
    token_starts = np.zeros(len(tokens) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, tokens), np.int64, count=len(tokens)), out=token_starts[1:])
    blob = np.frombuffer(b"".join(tokens) + bytes(64), np.uint8)
    byte_ids = np.full(256, 0xFFFFFFFF, np.uint32)
    single_T = np.flatnonzero(np.diff(token_starts) == 1)
    byte_ids[blob[token_starts[single_T]]] = single_T
    if (byte_ids == 0xFFFFFFFF).any():
        raise ValueError("the vocabulary has no token for some bytes")
    return blob, token_starts, byte_ids


def _merge_tables(
    byte_ids: NDArray[np.uint32], lefts_M: NDArray[np.uint32], rights_M: NDArray[np.uint32], ranks_M: NDArray[np.uint32]
) -> dict[str, Any]:
    """The fields of an encoder that hold its M merges."""
    pairs = np.full(_room(len(ranks_M)), kernels.NO_PAIR, np.uint64)
    pair_bits = np.zeros(kernels.PAIR_BIT_WORDS, np.uint64)
    kernels.build_pairs(lefts_M, rights_M, ranks_M, pairs, pair_bits)
    byte_ranks = kernels.build_byte_ranks(byte_ids, pairs, pair_bits)
    return {"byte_ranks": byte_ranks, "pairs": pairs, "pair_bits": pair_bits}
