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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import tiktoken
import tokenizers

from packing.added_tokens import MAX_SEARCHED, added_words, control_tokens, pair_of, without_control_tokens
from packing.bpe import GPT2, ONIGURUMA_PATTERNS, PATTERNS, BytePairEncoder, tiktoken_engine
from packing.codecs import AddedWordsCodec, BytePairCodec, Codec, HuggingFaceCodec, TiktokenCodec

# The default, which mistral-common carries: no download.
TEKKEN_FILE = "tekken_240911.json"
# Names that tokenizers give the token that ends a document, where no file beside them says.
_END_NAMES = ("</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "<|im_end|>", "[SEP]")
_BEGIN_NAMES = ("<s>", "<|startoftext|>", "<|begin_of_text|>", "<bos>", "<|im_start|>", "[CLS]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """A tokenizer as read from its files."""

    digest: bytes  # of the files' content
    size: int  # ids are below it
    ids: Mapping[str, int]  # control tokens by name
    bos_id: int | None
    eos_id: int | None
    codec: Codec


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


def read_huggingface(path: Path, named: Collection[str] = ()) -> Vocabulary:
    """A `tokenizer.json`; `tokenizer_config.json` beside it, if there, names control tokens, BOS and EOS among them.

    `named` are control tokens too.
    """
    content = path.read_bytes()
    definition = json.loads(content)
    if not isinstance(definition, dict) or "model" not in definition:
        raise ValueError("it has no `model`")
    digest = hashlib.sha256(content).digest()
    settings_path = path.with_name("tokenizer_config.json")
    settings = json.loads(settings_path.read_bytes()) if settings_path.is_file() else {}
    control = control_tokens(definition, settings, named)
    ordinary = without_control_tokens(definition, control, digest)
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(ordinary))
    tokenizer.encode_special_tokens = True
    return Vocabulary(
        # Which texts become control tokens is part of what the ids mean.
        digest=hashlib.sha256(content + json.dumps(sorted(control.items())).encode()).digest(),
        size=max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1,
        ids=control,
        bos_id=_named(settings.get("bos_token"), _BEGIN_NAMES, control),
        eos_id=_named(settings.get("eos_token"), _END_NAMES, control),
        codec=_huggingface_codec(definition, control, tokenizer),
    )


def _huggingface_codec(definition: Mapping[str, Any], control: Mapping[str, int], tokenizer: Any) -> Codec:
    """Our kernels where they give the same ids, the library elsewhere."""
    expression = _byte_level_expression(definition)
    model = definition["model"]
    plain = (
        model.get("type") == "BPE"
        and definition.get("normalizer") is None
        and not any(model.get(key) for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"))
    )
    words = added_words(definition, control)
    vocab = {name: token for name, token in model["vocab"].items() if name not in control} if plain else {}
    tokens = _spelled(vocab, {word["content"] for word in words}) if plain and expression is not None else None
    if tokens is None:
        return HuggingFaceCodec(tokenizer=tokenizer, lossless=False)
    written = [*tokens, *[b""] * (1 + max((word["id"] for word in words), default=0) - len(tokens))]
    lossless = not any(word["lstrip"] or word["rstrip"] for word in words)
    for word in words:
        # One that the vocabulary spells otherwise stands for two texts.
        lossless &= written[word["id"]] in (b"", word["content"].encode())
        written[word["id"]] = word["content"].encode()
    library = HuggingFaceCodec(tokenizer=tokenizer, lossless=lossless, tokens=written)
    if expression not in ONIGURUMA_PATTERNS or len(words) > MAX_SEARCHED:
        return library
    pairs = [pair_of(merge) for merge in model["merges"]]
    try:
        encoder = BytePairEncoder.from_merges(
            tokens,
            [(vocab[left], vocab[right], vocab[left + right]) for left, right in pairs if left + right in vocab],
            expression,
            oniguruma_engine,
            whole_pieces=bool(model.get("ignore_merges")),
        )
    except (KeyError, ValueError):
        return library
    kernels = BytePairCodec(encoder=encoder, shift=0)
    if not words:
        return kernels
    return AddedWordsCodec(kernels=kernels, library=library, words=tuple(word["content"] for word in words))


def _spelled(vocab: Mapping[str, int], words: Collection[str]) -> list[bytes] | None:
    """Bytes of every token; None if the vocabulary is not one of bytes, or lacks one. Added words have none here."""
    bytes_of = byte_alphabet()
    tokens = [b""] * (max(vocab.values(), default=0) + 1)
    for name, token in vocab.items():
        if all(character in bytes_of for character in name):
            tokens[token] = bytes(bytes_of[character] for character in name)
        elif name not in words:
            return None
    return tokens if len({token for token in tokens if len(token) == 1}) == 256 else None


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


def _named(setting: Any, names: Sequence[str], control: Mapping[str, int]) -> int | None:
    """Id of the token that the settings name (a string, or an object with its content), else of a usual name."""
    name = setting.get("content") if isinstance(setting, dict) else setting
    return control[name] if isinstance(name, str) and name in control else _first_of(names, control)


def _first_of(names: Sequence[str], control: Mapping[str, int]) -> int | None:
    """Id of the first of `names` that there is."""
    return next((control[name] for name in names if name in control), None)
