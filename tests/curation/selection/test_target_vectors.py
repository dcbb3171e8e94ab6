"""Likeness by vectors: the exact ratio of two densities, better than n-grams where a topic has other words."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from curation.selection import target_vectors
from curation.selection.target import TargetConfig, fit_target
from curation.selection.target_facts import LIKENESS, worths
from curation.selection.target_gate import TargetGate
from curation.selection.target_vectors import TEMPERATURE, Reference, TargetVectors, estimate
from curation.ticks import Accepted
from curation.vectors.embedding_config import EmbeddingConfig
from curation.vectors.teacher import open_teacher, unit_vectors
from kernels.columns import join_texts
from state.epoch import Epoch
from state.token_arrays import Tokens
from tests.corpus import read_zst_jsonl
from tests.kept import Kept

Vectors = NDArray[np.float32]


def around(centre: int, number: int, seed: int, dimension: int = 24) -> Vectors:
    """Unit vectors about an axis."""
    noise = np.random.default_rng(seed).normal(0, 0.25, (number, dimension))
    return unit_vectors(np.eye(dimension)[centre] + noise)


def exact(vectors_BD: Vectors, wanted_SD: Vectors, against_SD: Vectors) -> NDArray[np.float64]:
    """Log of the mean kernel of the wanted over that of the stream's, over all documents."""
    means = (
        np.exp(vectors_BD @ side_SD.T.astype(np.float64) / TEMPERATURE).mean(1) for side_SD in (wanted_SD, against_SD)
    )
    of_wanted, of_against = means
    ratio: NDArray[np.float64] = np.log(of_wanted) - np.log(of_against)
    return ratio


def test_of_few_documents_it_is_the_exact_ratio_of_their_densities() -> None:
    wanted, against, some = around(0, 40, 1), np.concatenate([around(n, 12, n) for n in range(5)]), around(2, 50, 9)
    found = estimate(wanted, against).differences(some)
    assert found == pytest.approx(exact(some, wanted, against), abs=1e-4)


def test_of_many_documents_groups_rank_as_all_of_them_do() -> None:
    wanted = np.concatenate([around(0, 400, 1), around(7, 300, 2)])
    against = np.concatenate([around(n, 150, n) for n in range(12)])
    some = np.concatenate([around(n, 20, 50 + n) for n in range(12)])
    densities = estimate(wanted, against)
    found = densities.differences(some)
    assert np.corrcoef(found, exact(some, wanted, against))[0, 1] > 0.99
    assert len(densities.log_shares) == 8 * 2 * target_vectors.PROTOTYPES
    own = densities.differences(against)
    assert own.mean() == pytest.approx(densities.mean)
    assert own.std() == pytest.approx(densities.deviation)


def test_documents_that_are_all_the_same_have_a_likeness() -> None:
    same = np.repeat(around(0, 1, 0), 300, axis=0)
    assert np.isfinite(estimate(same, same).differences(same)).all()


def test_sentence_vectors_find_the_wanted_groups_of_posts(corpora: Path) -> None:
    rows = list(read_zst_jsonl(corpora / "labelled" / "20newsgroups.jsonl.zst"))
    posts = [(row["label"], row["text"]) for row in random.Random(0).sample(rows, 420)]
    wanted_groups = ("sci.space", "rec.sport.hockey", "talk.politics.mideast", "sci.med", "rec.motorcycles")
    is_wanted = np.array([group in wanted_groups for group, _ in posts])
    texts = [text[:300] for _, text in posts]
    vectors = open_teacher(EmbeddingConfig().model, 1).encode(texts)
    wanted = np.flatnonzero(is_wanted)[:40]
    against = np.setdiff1d(np.arange(240), wanted)
    rest = np.setdiff1d(np.arange(240, len(posts)), wanted)
    found = estimate(vectors[wanted], vectors[against]).differences(vectors[rest])
    by_vectors = roc_auc_score(is_wanted[rest], found)
    by_ngrams = fit_target([texts[i] for i in wanted], [texts[i] for i in against])
    of_ngrams = roc_auc_score(is_wanted[rest], worths(by_ngrams.score(join_texts([texts[i] for i in rest]))))
    oracle = exact(vectors[rest], vectors[wanted], vectors[against])
    assert np.corrcoef(found, oracle)[0, 1] > 0.93
    assert by_vectors > 0.85
    assert by_vectors > of_ngrams + 0.15


class Embed:
    """Vectors of token ids; how often they were asked for."""

    def __init__(self, turn: int = 0) -> None:
        self.calls = 0
        self._turn = turn

    def __call__(self, documents: Sequence[Tokens]) -> Vectors:
        self.calls += 1
        return np.concatenate([around((int(tokens[0]) + self._turn) % 24, 1, int(tokens[1])) for tokens in documents])


def reference(digest: str = "one") -> Reference:
    """Wanted are documents of the first axis, the stream's those of five."""
    documents = [np.array([n % 5, n], np.uint32) for n in range(300)]
    return Reference(wanted=documents[::5], against=documents, digest=digest)


def accepted(tick: int, num_documents: int) -> Accepted:
    """Documents of a tick, with a score of a head."""
    rng, ordinals = np.random.default_rng(tick), 512 * tick + np.arange(num_documents)
    return Accepted(
        ordinals_B=ordinals,
        doc_nos_B=ordinals,
        keys_B=rng.integers(0, 2**63, num_documents).astype(np.uint64),
        sources=("",) * num_documents,
        languages=("en",) * num_documents,
        qualities_B=np.ones(num_documents, np.float32),
        scores_BM=np.full((num_documents, 1), 0.5, np.float32),
        num_tokens_B=rng.integers(20, 2000, num_documents),
    )


def score(vectors: TargetVectors, epoch: Epoch | None = None, tick: int = 0) -> NDArray[np.float32]:
    found = vectors.score(accepted(tick, 20), around(0, 20, 4), epoch or Epoch(number=1, identity="{}"))
    assert (found[:, 0] == 0.5).all()
    return found[:, 1]


def test_densities_are_made_once_a_version_of_the_student_and_for_other_files() -> None:
    vectors, first, kept = TargetVectors(reference()), Embed(), Kept()
    vectors.follow(1, first)
    before = score(vectors)
    vectors.follow(1, first)
    assert first.calls == 2  # the wanted ones, and the stream's
    kept.commit(vectors)
    again = TargetVectors(reference())
    kept.restore(again)
    again.follow(1, Embed(7))  # it is restored, so nothing is embedded
    assert score(again).tobytes() == before.tobytes()
    assert kept.commit(again) == []
    for other in (TargetVectors(reference("two")), again):
        kept.restore(other)
        later = Embed(7)
        other.follow(2, later)
        assert later.calls == 2
        assert score(other).mean() < before.mean()


def test_the_likeness_of_a_document_is_a_fact_of_its_tick() -> None:
    vectors, epoch, kept = TargetVectors(reference()), Epoch(number=1, identity="{}"), Kept()
    vectors.follow(1, Embed())
    scores_B = score(vectors, epoch, tick=3)
    kept.commit(vectors, epoch=epoch)
    fact = LIKENESS.get(kept, 3)
    assert fact is not None
    assert fact.of(3 * 512 + 7) == scores_B[7]
    assert fact.of(7) is None


def test_without_a_reference_nothing_is_measured_and_nothing_kept() -> None:
    vectors, embed = TargetVectors(None), Embed()
    vectors.follow(1, embed)
    assert (embed.calls, vectors.names, vectors.is_on) == (0, (), False)
    documents, epoch = accepted(0, 3), Epoch(number=1, identity="{}")
    assert vectors.score(documents, around(0, 3, 0), epoch) is documents.scores_BM
    assert Kept().commit(vectors, epoch=epoch) == []


@pytest.mark.parametrize("keep_ratio", [0.8, 0.6])
def test_the_gate_keeps_its_share_of_likeness_by_vectors(keep_ratio: float) -> None:
    vectors = TargetVectors(reference())
    vectors.follow(1, Embed())
    config = TargetConfig(files=("a",), against=("b",), by="similarity", keep_ratio=keep_ratio, source_floor=0.3)
    gate, kept, arrived = TargetGate(config), np.zeros(5), np.zeros(5)
    rng = np.random.default_rng(0)
    for tick in range(40):
        centres = rng.integers(0, 5, 400)
        some = np.concatenate([around(int(centre), 1, 400 * tick + n) for n, centre in enumerate(centres)])
        documents, epoch = accepted(tick, 400), Epoch(number=1, identity="{}")
        worths_B = vectors.score(documents, some, epoch)[:, 1]
        kept_B, _ = gate.keep(documents, worths_B, epoch)
        np.add.at(arrived, centres, documents.num_tokens_B)
        np.add.at(kept, centres[kept_B], documents.num_tokens_B[kept_B])
    assert kept.sum() / arrived.sum() == pytest.approx(keep_ratio, abs=0.01)
    shares = kept / arrived
    assert shares[0] > 0.9
    assert shares[0] > shares[1:].max() + 0.05


def test_options_that_measure_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"target.by = .similarity. measures likeness to target.files"):
        msgspec.convert({"by": "similarity"}, TargetConfig)
