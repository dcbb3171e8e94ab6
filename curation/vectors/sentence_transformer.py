"""Sentence-transformers: the encoder of every model that `bert` does not read, by the library itself."""

from __future__ import annotations

from typing import Any

from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn import Module
from transformers.utils import logging as transformers_logging


class SentenceTransformerEncoder(Module):
    """Such a model, by folder or name, which cuts texts to `limit` pieces. Raises what the library raises."""

    def __init__(self, model: str, limit: int, *, local_files_only: bool) -> None:
        super().__init__()
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        # Before version 6 the code of a local folder was run in spite of the setting here.
        self._model = SentenceTransformer(
            model, device="cpu", trust_remote_code=False, local_files_only=local_files_only
        ).eval()
        self._model.max_seq_length = self.limit = min(self._model.max_seq_length or limit, limit)

    @property
    def words_VE(self) -> Tensor | None:  # noqa: N802
        """The table by which it begins to read, if it has such a one."""
        table = getattr(getattr(self._model[0], "auto_model", None), "get_input_embeddings", lambda: None)()
        return None if table is None else table.weight

    def encode(self, text: str) -> Tensor:
        """The vector (D) of a text, of any length."""
        vector_D: Tensor = self._model(self._model.preprocess([text]))["sentence_embedding"][0]
        return vector_D

    def pieces(self, words: list[str]) -> list[list[int]]:
        """The word pieces of each word, places in `words_VE`."""
        found: dict[str, Any] = self._model.tokenizer(words, add_special_tokens=False)
        return list(found["input_ids"])
