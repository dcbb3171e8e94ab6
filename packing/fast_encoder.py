"""The fast way from text to ids: fastokens, for the vocabularies that it encodes as their own library does.

It takes a second to load and 90 MB, so the first megabytes go through the vocabulary's own library, the reference. Both
give the same ids, so only the clock sees the change. Before it, both encode the probes (`packing.probes`); where
one id differs, where fastokens is not installed or refuses the vocabulary, the reference goes on, and says why.

Memory: a thread that encodes keeps up to 300 MB of pieces that it has met, however many there are
(benchmarks/results/2026-11-30-tokenizer.md). Threads of its own are not used: batches are spread over ours.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curatord.errors import first_line
from kernels.columns import Ragged
from packing.encoders import PART_CHARACTERS, Encoder, is_panic, joined, with_version

# Text that goes through the reference before fastokens is loaded: as much as the tokenizers library encodes in the
# time of loading, and half of what tiktoken does.
SWITCH_CHARACTERS = 4_000_000

TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = LLAMA3.replace("{1,3}", "")
# What tiktoken writes for LLAMA3, but that white space at the end of a text stays whole.
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Expression of a vocabulary -> the one by which fastokens splits alike, for every code point in every context.
EXPRESSIONS = {TEKKEN: TEKKEN, O200K: O200K, LLAMA3: LLAMA3, QWEN: QWEN, CL100K: LLAMA3}
# Expressions that take the long s of a contraction for an s, which fastokens does not.
LONG_S = dict.fromkeys((O200K, LLAMA3, QWEN, CL100K), "'ſ")
_SPACE_AFTER_LINE = re.compile(rb"[\r\n][^\r\n]+\Z")


class NotEncodedAlikeError(ValueError):
    """fastokens cannot be used for a vocabulary, with the reason."""


@dataclass(frozen=True, slots=True)
class FastokensEncoder:
    """fastokens itself."""

    tokenizer: Any

    @classmethod
    def of_ranks(cls, tokens: Sequence[bytes], expression: str) -> FastokensEncoder:
        """Tokens by rank. Raises `NotEncodedAlikeError`, or an error of fastokens."""
        if expression not in EXPRESSIONS:
            raise NotEncodedAlikeError("it splits text by an expression that fastokens does not know")
        if expression == CL100K and any(_SPACE_AFTER_LINE.search(token) for token in tokens):
            raise NotEncodedAlikeError("a token reaches over the end of a line")
        tokenizer = _library()
        with tempfile.TemporaryDirectory(prefix="curatord-ranks-") as folder:
            path = Path(folder) / "ranks.tiktoken"
            path.write_bytes(b"".join([b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens)]))
            return cls(tokenizer.from_tiktoken(str(path), pattern=EXPRESSIONS[expression]))

    @classmethod
    def of_definition(cls, definition: str) -> FastokensEncoder:
        """The content of a `tokenizer.json`. Raises an error of fastokens."""
        return cls(_library().from_json_str(definition))

    @property
    def library(self) -> str:
        return with_version("fastokens")

    def encode(self, texts: Sequence[str]) -> Ragged[np.uint32]:
        if not texts:
            return joined([])
        ids, bounds = self.tokenizer.encode_batch_flat(texts, split_special_tokens=True)
        # Without copies: the arrays keep the bytes.
        return Ragged(np.frombuffer(ids, np.uint32), np.frombuffer(bounds, np.int64))


def _library() -> Any:
    """fastokens' tokenizer class, from the module that leaves the adapters for other libraries out."""
    # Read once, when the first batch is encoded.
    os.environ.setdefault("FASTOKENS_BPE_THREADS", "1")
    from fastokens._native import Tokenizer

    return Tokenizer


class FastEncoder:
    """The reference, and fastokens from SWITCH_CHARACTERS on. Any number of threads may encode.

    `load` makes fastokens, and `again` the reference, which is let go in between. `trap` is a piece of text that sends
    its document to the reference.
    """

    def __init__(
        self,
        reference: Encoder,
        *,
        again: Callable[[], Encoder],
        load: Callable[[], Encoder],
        probes: Callable[[], Sequence[str]],
        trap: str = "",
    ) -> None:
        self._reference: Encoder | None = reference
        self._again = again
        self._load = load
        self._probes = probes
        self._trap = trap
        self._lock = threading.Lock()
        self._fast: Encoder | None = None
        self._num_characters = 0
        self.slow_because = ""  # why the reference encodes for good

    @property
    def library(self) -> str:
        return (self._fast or self.reference).library

    @property
    def reference(self) -> Encoder:
        """The vocabulary's own library."""
        made = self._reference
        if made is None:
            made = self._reference = self._again()
        return made

    def encode(self, texts: Sequence[str]) -> Ragged[np.uint32]:
        fast = self._fast or self._when_it_pays(texts)
        if fast is None:
            return self.reference.encode(texts)
        try:
            if self._trap and any(self._trap in text for text in texts):
                return joined([(self.reference if self._trap in text else fast).encode([text])[0] for text in texts])
            return fast.encode(texts)
        except BaseException as error:
            if not isinstance(error, Exception) and not is_panic(error):
                raise
            self._fast, self.slow_because = None, f"it failed on a text: {first_line(error)}"
            return self.reference.encode(texts)

    def settle(self) -> str:
        """Decide now by which library to encode; why it is the slow one, or ""."""
        with self._lock:
            if self._fast is None and not self.slow_because:
                self._fast, self.slow_because = self._checked()
                if self._fast is not None:
                    self._reference = None  # its tables are as large again
        return self.slow_because

    def _when_it_pays(self, texts: Iterable[str]) -> Encoder | None:
        """fastokens, if enough text has come by, or one that a regex engine may give up on."""
        if self.slow_because:
            return None
        lengths = [len(text) for text in texts]
        self._num_characters += sum(lengths)
        if self._num_characters >= SWITCH_CHARACTERS or max(lengths, default=0) > PART_CHARACTERS:
            self.settle()
        return self._fast

    def _checked(self) -> tuple[Encoder | None, str]:
        """fastokens, or the reason that speaks against it."""
        try:
            fast, texts = self._load(), self._probes()
            found, wanted = fast.encode(texts), self.reference.encode(texts)
        except ModuleNotFoundError:
            return None, "fastokens is not installed"
        except BaseException as error:
            if not isinstance(error, Exception) and not is_panic(error):
                raise
            return None, f"fastokens cannot encode it: {first_line(error)}"
        for text, ids, wanted_ids in zip(texts, found, wanted, strict=True):
            if not np.array_equal(ids, wanted_ids):
                return None, f"{fast.library} gives other ids for {text[:40]!r}"
        return fast, ""
