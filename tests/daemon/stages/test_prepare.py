"""The numbers of a document are its own: any number of threads, and any company, gives the same."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from curation.batch import Batch
from curation.dedup.near import NearDedup, NearDedupConfig
from curation.quality.judge import Quality, QualityConfig
from curation.quality.language import LanguageConfig
from daemon.stages.prepare import Prepare
from daemon.stages.workers import MIN_DOCUMENTS, Workers, num_threads
from kernels.columns import join_texts
from tests.simulation.world import WORDS, tokenizer

TEXTS = [" ".join(WORDS[n : n + 5 + n % 50]) for n in range(4 * MIN_DOCUMENTS)]


def batch_of(texts: list[str]) -> Batch:
    numbers_B = np.arange(len(texts))
    return Batch(
        ordinals_B=numbers_B,
        doc_nos_B=numbers_B,
        ids=tuple(map(str, numbers_B)),
        texts=join_texts(texts),
        sources=("",) * len(texts),
        languages=("",) * len(texts),
    )


@pytest.fixture(params=[1, 2, 3])
def prepare(request: pytest.FixtureRequest) -> Iterator[Prepare]:
    workers = Workers(request.param)
    yield Prepare(
        quality=Quality(QualityConfig(), LanguageConfig()),
        near_dedup=NearDedup(NearDedupConfig()),
        tokenizer=tokenizer(),
        workers=workers,
    )
    workers.close()


def test_many_documents_have_the_numbers_that_each_has_alone(prepare: Prepare) -> None:
    whole = batch_of(TEXTS)
    measures, tokens = prepare.measure(whole), prepare.encode(whole.texts)
    signatures_BP, has_words_B = prepare.sign(whole.texts)

    for b in range(0, len(TEXTS), 17):
        one = batch_of([TEXTS[b]])
        alone = prepare.measure(one)
        assert np.array_equal(alone.values_BR[0], measures.values_BR[b], equal_nan=True)
        assert (alone.scores_B[0], alone.languages_B[0]) == (measures.scores_B[b], measures.languages_B[b])
        assert prepare.encode(one.texts)[0].tolist() == tokens[b].tolist()
        assert np.array_equal(prepare.sign(one.texts)[0][0], signatures_BP[b])
    assert has_words_B.all()


def test_no_documents_have_no_tokens(prepare: Prepare) -> None:
    assert len(prepare.encode(join_texts([]))) == 0


def test_there_are_as_many_threads_as_are_wanted_and_one_a_processor_by_itself() -> None:
    assert num_threads(3) == 3
    assert num_threads(0) >= 1
