"""Reading tokenizers as their makers publish them: Tekken, tiktoken, Hugging Face `tokenizer.json`.

Each reader gives a `Vocabulary`: what identifies it, its special ids, and a codec between text and ids. Byte-level
BPE with a known splitting expression goes through our kernels (`packing.bpe`), all else through its own library;
the ids are the library's either way.

Text is always ordinary text: what looks like a control token on a page is encoded as the characters it is made of.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import tiktoken
import tokenizers
from numpy.typing import NDArray

from curatord.errors import ConfigError
from packing.bpe import GPT2, ONIGURUMA_PATTERNS, PATTERNS, BytePairEncoder, tiktoken_engine

# The default, which mistral-common carries: no download.
TEKKEN_FILE = "tekken_240911.json"
# Names that tokenizers give the token that ends a document, where no file beside them says.
_END_NAMES = ("</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "<|im_end|>", "[SEP]")
_BEGIN_NAMES = ("<s>", "<|startoftext|>", "<|begin_of_text|>", "<bos>", "<|im_start|>", "[CLS]")


class Codec(Protocol):
    """Between text and ids."""

    @property
    def lossless(self) -> bool:
        """Whether decoding gives back every text exactly."""

    def encode(
        self,
        texts: Sequence[str],
        buffer_N: NDArray[np.uint8],
        starts_B: NDArray[np.int64],
        ends_B: NDArray[np.int64],
        bos: int,
        eos: int,
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """(tokens_T, offsets_B1) with `bos` before and `eos` after each document, where they are not -1."""

    def decode(self, tokens_T: NDArray[np.int64]) -> str:
        """Text of the tokens; control tokens have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """A tokenizer as read from its files."""

    digest: bytes  # of the files' content
    size: int  # ids are below it
    ids: Mapping[str, int]  # control tokens by name
    bos_id: int | None
    eos_id: int | None
    codec: Codec


@dataclass(frozen=True, slots=True, kw_only=True)
class BytePairCodec:
    """Our kernels. Control tokens take up the first `shift` ids, or are empty tokens of the encoder."""

    encoder: BytePairEncoder
    shift: int
    lossless: bool = True

    def encode(
        self,
        texts: Sequence[str],
        buffer_N: NDArray[np.uint8],
        starts_B: NDArray[np.int64],
        ends_B: NDArray[np.int64],
        bos: int,
        eos: int,
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        return self.encoder.encode(buffer_N, starts_B, ends_B, shift=self.shift, bos=bos, eos=eos)

    def decode(self, tokens_T: NDArray[np.int64]) -> str:
        return self.encoder.bytes_of(tokens_T[tokens_T >= self.shift] - self.shift).decode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class TiktokenCodec:
    """tiktoken itself, for expressions that the kernels do not know."""

    encoding: tiktoken.Encoding
    tokens: Sequence[bytes]
    shift: int
    lossless: bool = True

    def encode(
        self,
        texts: Sequence[str],
        buffer_N: NDArray[np.uint8],
        starts_B: NDArray[np.int64],
        ends_B: NDArray[np.int64],
        bos: int,
        eos: int,
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        ids = [np.array(self.encoding.encode_ordinary(text), np.uint32) + np.uint32(self.shift) for text in texts]
        return _join_ids(ids, bos, eos)

    def decode(self, tokens_T: NDArray[np.int64]) -> str:
        ids = tokens_T[(tokens_T >= self.shift) & (tokens_T < self.shift + len(self.tokens))] - self.shift
        return b"".join([self.tokens[i] for i in ids.tolist()]).decode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFaceCodec:
    """The tokenizers library, for models and normalizers that are not plain byte-level BPE."""

    tokenizer: tokenizers.Tokenizer
    lossless: bool

    def encode(
        self,
        texts: Sequence[str],
        buffer_N: NDArray[np.uint8],
        starts_B: NDArray[np.int64],
        ends_B: NDArray[np.int64],
        bos: int,
        eos: int,
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return _join_ids([np.array(encoding.ids, np.uint32) for encoding in encodings], bos, eos)

    def decode(self, tokens_T: NDArray[np.int64]) -> str:
        text: str = self.tokenizer.decode(tokens_T.tolist(), skip_special_tokens=True)
        return text


def _join_ids(ids: list[NDArray[np.uint32]], bos: int, eos: int) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """One array over the ids of B documents, with BOS and EOS, and the offsets of each."""
    before = np.array([bos] if bos >= 0 else [], np.uint32)
    after = np.array([eos] if eos >= 0 else [], np.uint32)
    parts = [part for tokens in ids for part in (before, tokens, after)]
    lengths_B = np.fromiter(map(len, ids), np.int64, count=len(ids)) + len(before) + len(after)
    offsets_B1 = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths_B)))
    return np.concatenate([np.zeros(0, np.uint32), *parts]), offsets_B1


# ---------------------------------------------------------------------------------------------------------- Tekken


class _TekkenToken(msgspec.Struct):
    rank: int
    token_bytes: str


class _TekkenSpecial(msgspec.Struct):
    rank: int
    token_str: str


class _TekkenSettings(msgspec.Struct):
    pattern: str
    default_vocab_size: int
    default_num_special_tokens: int


class _TekkenFile(msgspec.Struct):
    config: _TekkenSettings
    vocab: list[_TekkenToken]
    special_tokens: list[_TekkenSpecial] | None = None


def read_tekken(path: Path | None = None) -> Vocabulary:
    """A `tekken.json`; without a path the one that mistral-common carries.

    Control tokens come first: the id of a token is its rank and their number.
    """
    source = path or resources.files("mistral_common") / "data" / TEKKEN_FILE
    content = source.read_bytes()
    file = msgspec.json.decode(content, type=_TekkenFile)
    shift = file.config.default_num_special_tokens
    vocab = sorted(file.vocab[: file.config.default_vocab_size - shift], key=lambda token: token.rank)
    tokens = [base64.b64decode(token.token_bytes) for token in vocab]
    ids = {token.token_str: token.rank for token in file.special_tokens or ()}
    # Files of the first generation leave the control tokens out; these never moved.
    ids = ids or {"<unk>": 0, "<s>": 1, "</s>": 2}
    return Vocabulary(
        digest=hashlib.sha256(content).digest(),
        size=file.config.default_vocab_size,
        ids=ids,
        bos_id=ids.get("<s>"),
        eos_id=ids.get("</s>"),
        codec=_ranked_codec(tokens, file.config.pattern, shift),
    )


def _ranked_codec(tokens: Sequence[bytes], expression: str, shift: int) -> Codec:
    """A codec for tiktoken's kind of vocabulary: tokens by rank, an empty one where there is none."""
    if expression in PATTERNS:
        return BytePairCodec(encoder=BytePairEncoder.from_ranks(tokens, expression, tiktoken_engine), shift=shift)
    ranks = {token: rank for rank, token in enumerate(tokens) if token}
    encoding = tiktoken.Encoding("vocabulary", pat_str=expression, mergeable_ranks=ranks, special_tokens={})
    return TiktokenCodec(encoding=encoding, tokens=tokens, shift=shift)


# -------------------------------------------------------------------------------------------------------- tiktoken


def read_tiktoken(encoding: tiktoken.Encoding) -> Vocabulary:
    """An encoding of tiktoken's; ids are ranks."""
    ranks = encoding._mergeable_ranks
    tokens = [b""] * (max(ranks.values()) + 1)
    for token, rank in ranks.items():
        tokens[rank] = token
    definition = hashlib.sha256(encoding._pat_str.encode())
    for token in tokens:
        definition.update(len(token).to_bytes(4, "little") + token)
    definition.update(json.dumps(sorted(encoding._special_tokens.items())).encode())
    return Vocabulary(
        digest=definition.digest(),
        size=encoding.n_vocab,
        ids=dict(encoding._special_tokens),
        bos_id=_first_of(_BEGIN_NAMES, encoding._special_tokens),
        eos_id=_first_of(_END_NAMES, encoding._special_tokens),
        codec=_ranked_codec(tokens, encoding._pat_str, 0),
    )


# ---------------------------------------------------------------------------------------------------- Hugging Face


def read_huggingface(path: Path) -> Vocabulary:
    """A `tokenizer.json`; `tokenizer_config.json` beside it, if there, names BOS and EOS."""
    content = path.read_bytes()
    definition = json.loads(content)
    if not isinstance(definition, dict) or "model" not in definition:
        raise ConfigError(f"tokenizer: {path} is no tokenizer.json of Hugging Face's: it has no `model`")
    digest = hashlib.sha256(content).digest()
    control = control_tokens(definition)
    settings_path = path.with_name("tokenizer_config.json")
    settings = json.loads(settings_path.read_bytes()) if settings_path.is_file() else {}
    ordinary = without_control_tokens(definition, control, digest)
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(ordinary))
    tokenizer.encode_special_tokens = True
    return Vocabulary(
        digest=digest,
        size=max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1,
        ids=control,
        bos_id=_named(settings.get("bos_token"), _BEGIN_NAMES, control),
        eos_id=_named(settings.get("eos_token"), _END_NAMES, control),
        codec=_huggingface_codec(definition, control, tokenizer),
    )


def control_tokens(definition: Mapping[str, Any]) -> dict[str, int]:
    """Added tokens that no text may become, with their ids.

    Those marked as special, and all others that are not part of the model's own vocabulary, such as `<think>`:
    whoever trains on a page that mentions them must not find the control token there. Runs of white space, which
    some tokenizers add to the vocabulary in this way, stay ordinary.
    """
    vocab = definition["model"]["vocab"]
    names = set(vocab) if isinstance(vocab, dict) else {entry[0] for entry in vocab}
    return {
        token["content"]: token["id"]
        for token in definition.get("added_tokens", ())
        if token.get("special") or not (token["content"] in names or token["content"].isspace())
    }


def without_control_tokens(definition: Mapping[str, Any], control: Mapping[str, int], digest: bytes) -> dict[str, Any]:
    """The same tokenizer, with names for the control tokens that no page can hold, so that no text becomes one.

    Leaving them out would shift the ids of others; the library's own switch (`encode_special_tokens`) stops the
    search for them in the text, but a model whose vocabulary lists them still finds them piece by piece. Padding,
    truncation and what frames a sentence go too: documents are encoded whole and bare.
    """
    names = {name: f"\U0010ffff{digest.hex()}{token}" for name, token in control.items()}
    model = dict(definition["model"])
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(name, name): token for name, token in model["vocab"].items()}
    else:
        model["vocab"] = [[names.get(name, name), score] for name, score in model["vocab"]]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        pairs = [_pair(merge) for merge in model["merges"]]
        model["merges"] = [list(p) for p in pairs if not {p[0], p[1], p[0] + p[1]} & names.keys()]
    added = [
        {**token, "content": names[token["content"]], "special": True} if token["content"] in names else token
        for token in definition.get("added_tokens", ())
    ]
    bare = {"post_processor": None, "padding": None, "truncation": None}
    return {**definition, **bare, "model": model, "added_tokens": added}


def _huggingface_codec(definition: Mapping[str, Any], control: Mapping[str, int], tokenizer: Any) -> Codec:
    """Our kernels where they give the same ids, the library elsewhere."""
    expression = _byte_level_expression(definition)
    model = definition["model"]
    plain = (
        model.get("type") == "BPE"
        and definition.get("normalizer") is None
        and not any(model.get(key) for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"))
        and all(token["content"] in control for token in definition.get("added_tokens", ()))
    )
    lossless = plain and expression is not None
    if lossless and expression in ONIGURUMA_PATTERNS:
        encoder = _byte_level_encoder(model, control, expression)
        if encoder is not None:
            return BytePairCodec(encoder=encoder, shift=0)
    return HuggingFaceCodec(tokenizer=tokenizer, lossless=lossless)


def _byte_level_encoder(
    model: Mapping[str, Any], control: Mapping[str, int], expression: str
) -> BytePairEncoder | None:
    """Our encoder for a byte-level BPE model; None if its vocabulary is not one of bytes."""
    bytes_of = byte_alphabet()
    vocab = {name: token for name, token in model["vocab"].items() if name not in control}
    tokens = [b""] * (max(vocab.values()) + 1)
    try:
        for name, token in vocab.items():
            tokens[token] = bytes(bytes_of[character] for character in name)
        pairs = [_pair(merge) for merge in model["merges"]]
        merges = [(vocab[left], vocab[right], vocab[left + right]) for left, right in pairs if left + right in vocab]
        return BytePairEncoder.from_merges(
            tokens, merges, expression, oniguruma_engine, whole_pieces=bool(model.get("ignore_merges"))
        )
    except (KeyError, ValueError):
        return None


def _byte_level_expression(definition: Mapping[str, Any]) -> str | None:
    """The expression that splits text before byte-level BPE; None if the tokenizer prepares its text otherwise."""
    pre = definition.get("pre_tokenizer") or {}
    steps = pre.get("pretokenizers", [pre])
    last = steps[-1] if steps else {}
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        return None
    if len(steps) == 1:
        return GPT2 if last.get("use_regex", True) else None
    split = steps[0]
    whole = split.get("type") == "Split" and split.get("behavior") == "Isolated" and not split.get("invert")
    if len(steps) == 2 and whole and not last.get("use_regex", True):
        expression: str | None = split["pattern"].get("Regex")
        return expression
    return None


def oniguruma_engine(expression: str, text: str) -> str:
    """The regex engine of the tokenizers library: everything else is replaced by nothing."""
    normalizer = tokenizers.normalizers.Replace(tokenizers.Regex(f"[^{expression}]"), "")
    matched: str = normalizer.normalize_str(text)
    return matched


def byte_alphabet() -> dict[str, int]:
    """The printable characters by which byte-level vocabularies spell bytes (GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


def _pair(merge: str | Sequence[str]) -> tuple[str, str]:
    """A merge in either of its spellings."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _named(setting: Any, names: Sequence[str], control: Mapping[str, int]) -> int | None:
    """Id of the token that the settings name (a string, or an object with its content), else of a usual name."""
    name = setting.get("content") if isinstance(setting, dict) else setting
    return control[name] if isinstance(name, str) and name in control else _first_of(names, control)


def _first_of(names: Sequence[str], control: Mapping[str, int]) -> int | None:
    """Id of the first of `names` that there is."""
    return next((control[name] for name in names if name in control), None)
