"""Evaluation sets that a configuration or a command names, read from their files once a process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from consumers.formats.fields import FieldNames
from consumers.formats.input_config import InputConfig
from curation.acquisition.mask import MaskConfig
from curation.decontamination.questions import DecontaminateConfig, Question, Questions
from curatord.errors import ConfigError
from daemon.config import Config
from daemon.reference_texts import documents_of
from daemon.stages.mask import open_mask


def questions_in(
    files: Sequence[str], field: str, config: InputConfig, option: str, mask: MaskConfig
) -> list[Question]:
    """The questions of files and folders, masked as documents are; `option` is what a refusal names.

    Raises `ConfigError`.
    """
    try:
        fields = FieldNames(text=field, url="", source="", language="", timestamp="")
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error
    masking = open_mask(mask)
    found: list[Question] = []
    for documents in documents_of(files, msgspec.structs.replace(config, fields=fields), option):
        texts = documents.texts if masking is None else masking.mask.texts(documents.texts).texts
        columns = zip(documents.inputs, documents.ids, texts, strict=True)
        found += [Question(set=Path(name).name, id=doc_id, text=text) for name, doc_id, text in columns]
    return found


def open_questions(config: Config) -> Questions | None:
    """The questions of [decontaminate]; None where it is off. Raises `ConfigError`."""
    if not config.decontaminate.files:
        return None
    return _opened(msgspec.json.encode((config.decontaminate, config.input, config.mask)))


@lru_cache(maxsize=2)
def _opened(encoded: bytes) -> Questions:
    config, inputs, mask = msgspec.json.decode(encoded, type=tuple[DecontaminateConfig, InputConfig, MaskConfig])
    questions = Questions(
        questions_in(config.files, config.field, inputs, "decontaminate.files", mask), config.mode, config.share
    )
    if not questions.questions:
        raise ConfigError(
            f"decontaminate.files: all {questions.left_out:,} questions are too short to be told from chance (13 words "
            "at least, 4 different ones)"
        )
    return questions
