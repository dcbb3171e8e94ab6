"""The section [embedding]."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

DEFAULT_MODEL = "all-MiniLM-L6-v2"
UNIVERSAL = "universal-sentence-encoder-multilingual-3"
AUTO, NONE = "auto", "none"


class EmbeddingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section [embedding]."""

    mode: Literal["student", "teacher"] = "student"
    """What embeds documents: a table trained against the teacher (~10 us each), or the teacher itself (~10 ms each)."""
    model: Annotated[str, msgspec.Meta(min_length=1)] = DEFAULT_MODEL
    """The teacher: a sentence-transformers model, by folder or hub name. The default comes with the installation."""
    multilingual: Annotated[str, msgspec.Meta(min_length=1)] = AUTO
    """A second teacher beside it where 1 % of the documents to learn from are not in English: a folder, a hub name, or
    "universal-sentence-encoder-multilingual-3", which "auto" takes beside the default model; "none" for none."""
    warmup_documents: Annotated[int, msgspec.Meta(ge=2, le=1 << 20)] = 4096
    """Documents held at the start: half of them train the student, the others seed the clusters."""
    student_tokens: Annotated[int, msgspec.Meta(ge=16, le=4096)] = 512
    """Tokens at the start of a document that the student looks at."""
    retrain_drop: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.08
    """A new version of the student is trained when the share of tokens that it knows fell by this much; 1: never."""


def second_teacher(config: EmbeddingConfig) -> str:
    """The model that may stand beside the first; "none" for none."""
    if config.multilingual != AUTO:
        return config.multilingual
    return UNIVERSAL if config.model == DEFAULT_MODEL else NONE
