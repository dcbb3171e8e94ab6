"""The numbers of a document are its own: any company gives the same."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from consumers.broker import RawDocument
from consumers.formats.documents import Documents, decode_rows
from consumers.formats.input_config import InputConfig
from curation.dedup.near import NearDedup, NearDedupConfig
from curation.quality.judge import Quality, QualityConfig
from curation.quality.language import LanguageConfig
from daemon.stages.prepare import Prepare
from tests.simulation.world import WORDS, tokenizer

TEXTS = [" ".join(WORDS[n : n + 5 + n % 50]) for n in range(128)]


def documents_of(texts: list[str]) -> Documents:
    rows = [RawDocument("input", at, msgspec.json.encode({"text": text})) for at, text in enumerate(texts)]
    return decode_rows(rows, 0, InputConfig(), 0).documents


@pytest.fixture(scope="module")
def prepare() -> Prepare:
    return Prepare(
        quality=Quality(QualityConfig(), LanguageConfig()),
        near_dedup=NearDedup(NearDedupConfig()),
        tokenizer=tokenizer(),
    )


def test_many_documents_have_the_numbers_that_each_has_alone(prepare: Prepare) -> None:
    whole = prepare.all(documents_of(TEXTS))

    for b in range(0, len(TEXTS), 17):
        alone = prepare.all(documents_of([TEXTS[b]]))
        one = whole.take(np.array([b]))
        assert np.array_equal(alone.measures.values_BR, one.measures.values_BR, equal_nan=True)
        assert alone.measures.scores_B[0] == one.measures.scores_B[0]
        assert alone.measures.languages_B == one.measures.languages_B
        assert alone.tokens[0].tolist() == one.tokens[0].tolist()
        assert np.array_equal(alone.signatures_BU, one.signatures_BU)
        assert np.array_equal(alone.keys.texts_B2, one.keys.texts_B2)
    assert whole.has_words_B.all()


def test_no_documents_have_no_numbers(prepare: Prepare) -> None:
    nothing = prepare.all(documents_of([]))

    assert len(nothing.tokens) == len(nothing.measures) == len(nothing.signatures_BU) == 0
