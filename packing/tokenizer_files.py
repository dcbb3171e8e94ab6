"""The file that holds a tokenizer, and a sentence for every other kind of file that is taken for one."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

import msgspec

from curatord.errors import ConfigError, first_line

READABLE = ("tokenizer.json", "tekken.json", "tokenizer.model")
HEAD_BYTES = 1 << 16

_HOW_TO_CONVERT = (
    'make one in the folder of the model with: python -c "from transformers import AutoTokenizer as t; '
    "t.from_pretrained('FOLDER').save_pretrained('FOLDER')\""
)
_MAGICS = (
    (b"\x1f\x8b", "it is compressed with gzip: unpack it"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd: unpack it"),
    (b"BZh", "it is compressed with bzip2: unpack it"),
    (b"\xfd7zXZ", "it is compressed with xz: unpack it"),
    (b"PK\x03\x04", "it is a zip archive, or weights of a model: name the tokenizer.json beside it"),
    (b"GGUF", "it is a model in GGUF: name the tokenizer.json of the model that it was made from"),
    (b"version https://git-lfs", "it is a pointer of git-lfs, not the file: run git lfs pull"),
)


def tokenizer_file(path: Path) -> Path:
    """The file behind a path of the configuration: itself, or the one that its folder holds. Raises ConfigError."""
    if not path.is_dir():
        return path
    found = next((path / name for name in READABLE if (path / name).is_file()), None)
    if found is not None:
        return found
    others = sorted(file.name for file in path.iterdir() if file.suffix in (".model", ".tiktoken", ".txt", ".json"))
    listed = f"; it holds {', '.join(others[:5])}" if others else ""
    raise ConfigError(
        f"tokenizer.name = {str(path)!r}: the folder holds no {' and no '.join(READABLE)}{listed}; "
        f"{_HOW_TO_CONVERT.replace('FOLDER', str(path))}"
    )


def is_sentencepiece(path: Path) -> bool:
    """Whether a file is a model of SentencePiece, by its first bytes; lists of ranks are called .model, too."""
    with path.open("rb") as file:
        head = file.read(64)
    return head.startswith(b"\n") and (b"<unk>" in head or ".model" in path.name)


def unreadable(path: Path, error: Exception) -> ConfigError:
    """The error for a file that could not be read as a tokenizer: what it is, and what to name instead."""
    return ConfigError(
        f"tokenizer.name = {str(path)!r} cannot be read as a tokenizer ({first_line(error)}): "
        f"{_what_it_is(path) or 'it is damaged, or of a later format'}"
    )


def _what_it_is(path: Path) -> str:
    """A sentence on a file that is no tokenizer.json, with a way out; "" for an unknown one."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return ""
    if not head:
        return "it is empty: copy or download it again"
    for magic, what in _MAGICS:
        if head.startswith(magic):
            return what
    folder = _HOW_TO_CONVERT.replace("FOLDER", str(path.parent))
    if path.suffix == ".tiktoken" or _holds_ranks(head):
        return (
            "it is a list of ranks of tiktoken's, which lacks the splitting expression: name the encoding "
            f"(o200k_base), or read tokenizer.json, {folder}"
        )
    if path.suffix == ".model" or b"<unk>" in head[:64]:
        return "it is a damaged model of SentencePiece: copy or download it again"
    if path.suffix == ".json" and head.lstrip()[:1] in (b"{", b"["):
        return _what_json_is(path)
    return f"it is no JSON; only tokenizer.json, tekken.json and models of SentencePiece are read: {folder}"


def _what_json_is(path: Path) -> str:
    """The same for a file that begins as JSON does."""
    try:
        content = msgspec.json.decode(path.read_bytes())
    except ValueError:
        return "its JSON is cut off or damaged: copy or download it again"
    if isinstance(content, dict) and content and all(type(token) is int for token in content.values()):
        return "it is a bare vocabulary (vocab.json): name the tokenizer.json beside it"
    if isinstance(content, dict) and "tokenizer_class" in content:
        return "it holds the settings of a tokenizer: name the tokenizer.json beside it"
    return "it is JSON, but of another kind: name a tokenizer.json"


def _holds_ranks(head: bytes) -> bool:
    """Whether the first line is a token in base64 and its rank."""
    token, _, rank = head.split(b"\n", 1)[0].strip().partition(b" ")
    try:
        return rank.isdigit() and bool(base64.b64decode(token, validate=True))
    except binascii.Error:
        return False
