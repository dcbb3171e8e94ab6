"""Reading tokenizers as their makers publish them: Tekken, tiktoken, Hugging Face `tokenizer.json`, SentencePiece.

Each reader gives a `Vocabulary`: what identifies it, its special ids, and a codec between text and ids. fastokens
encodes those that it encodes as their own library does (`packing.fast_encoder`), that library all others; the ids are
the library's either way.

Text is always ordinary text: what looks like a control token on a page is encoded as the characters it is made of.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from curatord.errors import ConfigError
from packing.added_tokens import added_words, control_tokens, without_control_tokens
from packing.codecs import BytesDecoder, Codec, HuggingFaceDecoder, SentencePieceDecoder
from packing.encoders import Encoder, HuggingFaceEncoder, SentencePieceEncoder, TiktokenEncoder
from packing.fast_encoder import GPT2, LLAMA3, LONG_S, O200K, QWEN, TEKKEN, FastEncoder, FastokensEncoder
from packing.probes import probes_with

# The default, which mistral-common carries: no download.
TEKKEN_FILE = "tekken_240911.json"
# Names that tokenizers give the token that ends a document, where no file beside them says.
_END_NAMES = ("</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "<|im_end|>", "[SEP]")
_BEGIN_NAMES = ("<s>", "<|startoftext|>", "<|begin_of_text|>", "<bos>", "<|im_start|>", "[CLS]")
# Byte-level BPE of a `tokenizer.json` that fastokens splits as the tokenizers library does.
_FAST_EXPRESSIONS = frozenset((TEKKEN, O200K, LLAMA3, QWEN, GPT2))
# Of a vocabulary of a hundred thousand tokens or words, those that the probes hold.
_NUM_PROBED = 200


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
    content = (path or _bundled(TEKKEN_FILE)).read_bytes()
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


def _bundled(name: str) -> Path:
    """A file that mistral-common carries; the package itself takes long to import."""
    spec = find_spec("mistral_common")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError('tokenizer.name = "tekken" needs the package mistral-common, which carries it: install it')
    return Path(spec.submodule_search_locations[0]) / "data" / name


def _ranked_codec(tokens: Sequence[bytes], expression: str, shift: int) -> Codec:
    """A codec for tiktoken's kind of vocabulary: tokens by rank, an empty one where there is none."""
    encoder = FastEncoder(
        TiktokenEncoder.of(tokens, expression),
        again=lambda: TiktokenEncoder.of(tokens, expression),
        load=lambda: FastokensEncoder.of_ranks(tokens, expression),
        probes=lambda: probes_with([token.decode("utf-8", "replace") for token in _spread(tokens)]),
        trap=LONG_S.get(expression, ""),
    )
    return Codec(encoder=encoder, decoder=BytesDecoder(tokens), lossless=True, shift=shift)


def _spread(tokens: Sequence[Any]) -> Sequence[Any]:
    """Some, from the first to the last."""
    return tokens[:: max(1, len(tokens) // _NUM_PROBED)]


# -------------------------------------------------------------------------------------------------------- tiktoken


def read_tiktoken(encoding: Any) -> Vocabulary:
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
    ordinary = json.dumps(without_control_tokens(definition, control, digest), ensure_ascii=False)
    library = HuggingFaceEncoder.of(ordinary)
    return Vocabulary(
        # Which texts become control tokens is part of what the ids mean.
        digest=hashlib.sha256(content + json.dumps(sorted(control.items())).encode()).digest(),
        size=max(library.tokenizer.get_vocab(with_added_tokens=True).values()) + 1,
        ids=control,
        bos_id=_named(settings.get("bos_token"), _BEGIN_NAMES, control),
        eos_id=_named(settings.get("eos_token"), _END_NAMES, control),
        codec=_huggingface_codec(definition, control, library, ordinary),
    )


def _huggingface_codec(
    definition: Mapping[str, Any], control: Mapping[str, int], library: HuggingFaceEncoder, ordinary: str
) -> Codec:
    """A codec for a `tokenizer.json`; `ordinary` is the same without its control tokens."""
    expression = _byte_level_expression(definition)
    words = added_words(definition, control)
    tokens = _bytes_of_tokens(definition, control, words) if expression is not None else None
    encoder: Encoder = library
    if _is_fast(definition, None if tokens is None else expression):
        encoder = FastEncoder(
            library,
            again=lambda: HuggingFaceEncoder.of(ordinary),
            load=lambda: FastokensEncoder.of_definition(ordinary),
            probes=lambda: probes_with([word["content"] for word in _spread(words)]),
            trap=LONG_S.get(expression or "", ""),
        )
    if tokens is None or definition.get("normalizer") is not None:
        return Codec(encoder=encoder, decoder=HuggingFaceDecoder(library.tokenizer), lossless=False)
    lossless = not any(word["lstrip"] or word["rstrip"] for word in words)
    for word in words:
        # One that the vocabulary spells otherwise stands for two texts.
        lossless &= tokens[word["id"]] in (b"", word["content"].encode())
        tokens[word["id"]] = word["content"].encode()
    # The library's own decoder takes the letters of added words for the alphabet of the bytes.
    return Codec(encoder=encoder, decoder=BytesDecoder(tokens), lossless=lossless)


def _is_fast(definition: Mapping[str, Any], expression: str | None) -> bool:
    """Whether fastokens is known to encode this kind as the tokenizers library does.

    Byte-level BPE (`expression`), composed before or not; and BPE over the characters of a whole text, with bytes for
    those that it lacks, as converted from SentencePiece. Whether it holds for this vocabulary, the probes tell.
    """
    model, normalizer = definition["model"], definition.get("normalizer") or {}
    if expression is not None:
        return expression in _FAST_EXPRESSIONS and normalizer.get("type") in (None, "NFC")
    steps = [step.get("type") for step in normalizer.get("normalizers", [normalizer])]
    spaced = steps in (["Prepend", "Replace"], ["Replace"]) and definition.get("pre_tokenizer") is None
    return spaced and _is_usual_bpe(model) and bool(model.get("byte_fallback"))


def _is_usual_bpe(model: Mapping[str, Any]) -> bool:
    """Whether a model merges pairs, without the options that the usual ones do not have."""
    unusual = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    return model.get("type") == "BPE" and not any(model.get(key) for key in unusual)


def _bytes_of_tokens(
    definition: Mapping[str, Any], control: Mapping[str, int], words: Collection[Mapping[str, Any]]
) -> list[bytes] | None:
    """Bytes of every token of byte-level BPE; None of other models. Added words have none."""
    if not _is_usual_bpe(definition["model"]):
        return None
    vocab = {name: token for name, token in definition["model"]["vocab"].items() if name not in control}
    tokens = _spelled(vocab, {word["content"] for word in words})
    if tokens is None:
        return None
    return [*tokens, *[b""] * (1 + max((word["id"] for word in words), default=0) - len(tokens))]


def _spelled(vocab: Mapping[str, int], words: Collection[str]) -> list[bytes] | None:
    """Bytes of every token; None if the vocabulary is not one of bytes, or lacks one. Added words have none here."""
    bytes_of = _byte_alphabet()
    tokens = [b""] * (max(vocab.values(), default=0) + 1)
    for name, token in vocab.items():
        try:
            tokens[token] = name.translate(bytes_of).encode("latin-1")
        except UnicodeEncodeError:
            if name not in words:
                return None
    return tokens if len({token for token in tokens if len(token) == 1}) == 256 else None


def _byte_alphabet() -> dict[int, int]:
    """The printable characters by which byte-level vocabularies spell bytes (GPT-2), as a table for `str.translate`.

    Characters that spell none are no bytes after it.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    spelled = {byte: byte for byte in printable} | {256 + n: byte for n, byte in enumerate(others)}
    return dict.fromkeys(others, 0xFFFF) | spelled


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


# --------------------------------------------------------------------------------------------------- SentencePiece


def read_sentencepiece(path: Path) -> Vocabulary:
    """A `.model` file of SentencePiece's."""
    try:
        from sentencepiece import SentencePieceProcessor
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"tokenizer.name = {str(path)!r} is a model of SentencePiece, and the package sentencepiece is not "
            "installed: install it, or name the tokenizer.json beside the model"
        ) from error
    content = path.read_bytes()
    processor = SentencePieceProcessor(model_proto=content)
    size = processor.get_piece_size()
    ids = {processor.id_to_piece(piece): piece for piece in range(size) if processor.is_control(piece)}
    return Vocabulary(
        digest=hashlib.sha256(content).digest(),
        size=size,
        ids=ids,
        bos_id=processor.bos_id() if processor.bos_id() >= 0 else None,
        eos_id=processor.eos_id() if processor.eos_id() >= 0 else None,
        codec=Codec(encoder=SentencePieceEncoder(processor), decoder=SentencePieceDecoder(processor), lossless=False),
    )


# ---------------------------------------------------------------------------------------------------------- common


def _named(setting: Any, names: Sequence[str], control: Mapping[str, int]) -> int | None:
    """Id of the token that the settings name (a string, or an object with its content), else of a usual name."""
    name = setting.get("content") if isinstance(setting, dict) else setting
    return control[name] if isinstance(name, str) and name in control else _first_of(names, control)


def _first_of(names: Sequence[str], control: Mapping[str, int]) -> int | None:
    """Id of the first of `names` that there is."""
    return next((control[name] for name in names if name in control), None)
