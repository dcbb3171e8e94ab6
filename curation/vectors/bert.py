"""BERT: the encoder of most sentence-transformers models, the default among them, in torch and tokenizers alone.

    pieces ─▸ embeddings ─▸ layers x (attention, feed forward) ─▸ mean of the pieces, or the first

To import sentence-transformers and transformers costs six seconds of processor time, and a BERT (Devlin et al., 2019)
needs little of them. Weights and settings are read as they lie in the folder. A folder whose settings ask for anything
beyond this module has no `Bert`: sentence-transformers reads it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import BertWordPieceTokenizer
from torch import Tensor
from torch.nn import LayerNorm, Linear, Module, ModuleList, Parameter, functional

# Settings by file, with the values that this module is made for; None: the setting may be missing.
_FIT: dict[str, dict[str, tuple[object, ...]]] = {
    "config.json": {
        "model_type": ("bert",),
        "hidden_act": ("gelu",),
        "position_embedding_type": ("absolute", None),
        "is_decoder": (False, None),
        "add_cross_attention": (False, None),
        "auto_map": (None,),
    },
    "sentence_bert_config.json": {
        "do_lower_case": (False, None),
        "transformer_task": ("feature-extraction", None),
        "module_output_name": ("token_embeddings", None),
        "query_expansion": (None,),
    },
    "tokenizer_config.json": {
        "tokenizer_class": ("BertTokenizer", "BertTokenizerFast"),
        "truncation_side": ("right", None),
        "cls_token": ("[CLS]", None),
        "sep_token": ("[SEP]", None),
        "unk_token": ("[UNK]", None),
    },
}
_SPECIAL = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
_MODULES = ["Transformer", "Pooling", "Normalize"]  # the last changes no direction, and may be missing


class Bert(Module):
    """An encoder of one text after another: nothing is padded, and nothing is trained."""

    def __init__(self, folder: Path, weights: dict[str, Tensor], limit: int) -> None:
        super().__init__()
        config = _read(folder, "config.json")
        self._tokenizer = _tokenizer(folder)
        self._tokenizer.enable_truncation(limit)
        self.limit = limit
        self._takes_first = _pooling(folder) == "cls"
        self.words_VE = _kept(weights["embeddings.word_embeddings.weight"])
        types_YE = weights["embeddings.token_type_embeddings.weight"]
        self._places_PE = _kept(weights["embeddings.position_embeddings.weight"] + types_YE[0])
        self._norm = _norm(weights, "embeddings.LayerNorm", config)
        self._layers = ModuleList(_Layer(weights, n, config) for n in range(config["num_hidden_layers"]))

    def encode(self, text: str) -> Tensor:
        """The vector (D) of a text, of any length."""
        pieces_P = torch.tensor(self._tokenizer.encode(text).ids)
        rows_PE: Tensor = self._norm(self.words_VE[pieces_P] + self._places_PE[: len(pieces_P)])
        for layer in self._layers:
            rows_PE = layer(rows_PE)
        return rows_PE[0] if self._takes_first else rows_PE.mean(dim=0)

    def pieces(self, words: list[str]) -> list[list[int]]:
        """The word pieces of each word, places in `words_VE`."""
        return [one.ids for one in self._tokenizer.encode_batch(words, add_special_tokens=False)]


class _Layer(Module):
    def __init__(self, weights: dict[str, Tensor], number: int, config: dict[str, Any]) -> None:
        super().__init__()
        prefix = f"encoder.layer.{number}."
        self._heads = config["num_attention_heads"]
        self._asked = _linear(weights, *(f"{prefix}attention.self.{name}" for name in ("query", "key", "value")))
        self._told = _linear(weights, f"{prefix}attention.output.dense")
        self._told_norm = _norm(weights, f"{prefix}attention.output.LayerNorm", config)
        self._wide = _linear(weights, f"{prefix}intermediate.dense")
        self._narrow = _linear(weights, f"{prefix}output.dense")
        self._norm = _norm(weights, f"{prefix}output.LayerNorm", config)

    def forward(self, rows_PE: Tensor) -> Tensor:
        """The layer's rows of the pieces."""
        # Three times (1, heads, P, E / heads).
        asked = self._asked(rows_PE).view(1, len(rows_PE), 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        told_PE = functional.scaled_dot_product_attention(*asked)[0].transpose(0, 1).reshape(rows_PE.shape)
        rows_PE = self._told_norm(rows_PE + self._told(told_PE))
        written_PE: Tensor = self._norm(rows_PE + self._narrow(functional.gelu(self._wide(rows_PE))))
        return written_PE


def open_bert(folder: Path, limit: int) -> Bert | None:
    """The model of a folder, if it is one of this kind. It cuts texts to `limit` pieces, or as the folder says."""
    try:
        if not _is_fit(folder):
            return None
        weights = {
            name.removeprefix("bert."): weight for name, weight in load_file(folder / "model.safetensors").items()
        }
        if any(weight.is_floating_point() and weight.dtype != torch.float32 for weight in weights.values()):
            return None
        own = _read(folder, "sentence_bert_config.json").get("max_seq_length")
        tokenizers_own = _read(folder, "tokenizer_config.json").get("model_max_length", limit)
        places = len(weights["embeddings.position_embeddings.weight"])
        return Bert(folder, weights, min(limit, places, own or tokenizers_own)).eval()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError):
        return None  # sentence-transformers knows more, or the right words for it


def _is_fit(folder: Path) -> bool:
    """Whether the folder asks for nothing beyond this module."""
    for name, settings in _FIT.items():
        found = _read(folder, name)
        if any(found.get(key) not in values for key, values in settings.items()):
            return False
    modules = [module["type"] for module in json.loads((folder / "modules.json").read_text())]
    is_known = [kind.rpartition(".")[2] for kind in modules] == _MODULES[: max(2, len(modules))]
    return (
        is_known
        and all(kind.startswith("sentence_transformers.") for kind in modules)
        and _pooling(folder) in ("mean", "cls")
        and {token["content"] for token in _read(folder, "tokenizer.json")["added_tokens"]} <= _SPECIAL
    )


def _pooling(folder: Path) -> str:
    """How a text's pieces become one vector; several ways at once have a name together."""
    path = json.loads((folder / "modules.json").read_text())[1]["path"]
    config = _read(folder / path, "config.json")
    modes = [
        key.removeprefix("pooling_mode_") for key, value in config.items() if key.startswith("pooling_mode_") and value
    ]
    return str(config.get("pooling_mode", "+".join(modes))).removesuffix("_token").removesuffix("_tokens")


def _tokenizer(folder: Path) -> BertWordPieceTokenizer:
    """By the vocabulary of the one file and the settings of the other, as transformers does."""
    said, made = _read(folder, "tokenizer_config.json"), _read(folder, "tokenizer.json")
    return BertWordPieceTokenizer(
        made["model"]["vocab"],
        handle_chinese_chars=said.get("tokenize_chinese_chars", True),
        strip_accents=said.get("strip_accents"),
        lowercase=said.get("do_lower_case", True),
    )


def _linear(weights: dict[str, Tensor], *names: str) -> Linear:
    """One layer for those of these names, side by side."""
    weight_OE = torch.cat([weights[f"{name}.weight"] for name in names])
    linear = Linear(weight_OE.shape[1], weight_OE.shape[0], device="meta")
    linear.weight = _kept(weight_OE)
    linear.bias = _kept(torch.cat([weights[f"{name}.bias"] for name in names]))
    return linear


def _norm(weights: dict[str, Tensor], name: str, config: dict[str, Any]) -> LayerNorm:
    norm = LayerNorm(weights[f"{name}.weight"].shape, eps=config["layer_norm_eps"], device="meta")
    norm.weight, norm.bias = _kept(weights[f"{name}.weight"]), _kept(weights[f"{name}.bias"])
    return norm


def _kept(values: Tensor) -> Parameter:
    return Parameter(values, requires_grad=False)


def _read(folder: Path, name: str) -> dict[str, Any]:
    """Settings of a file; none of one that is missing."""
    path = folder / name
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found
