"""The student: exact bags of tokens, and training that generalises."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from curation.vectors.student import Student, train_student
from kernels.columns import Ragged

VOCABULARY = 5000


def topics(num_documents: int, seed: int, num_tokens: int = 60) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Documents of 5 topics that prefer their own 200 tokens; the teacher's vector is the topic's, with noise."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(5, 96))
    labels = rng.integers(0, 5, num_documents)
    documents = []
    for label in labels.tolist():
        own = label * 200 + rng.integers(0, 200, num_tokens)
        documents.append(np.where(rng.random(num_tokens) < 0.3, own, rng.integers(1000, 2000, num_tokens)))
    vectors = directions[labels] / 10 + rng.normal(size=(num_documents, 96)) / 20
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [d.astype(np.uint32) for d in documents], vectors.astype(np.float32), labels


def embed(student: Student, documents: list[np.ndarray]) -> np.ndarray:
    offsets = np.concatenate(([0], np.cumsum([len(d) for d in documents]))).astype(np.int64)
    return student.embed(Ragged(np.concatenate([*documents, np.zeros(0, np.uint32)]).astype(np.uint32), offsets))


@pytest.fixture(scope="module")
def student() -> Student:
    documents, vectors, _ = topics(400, seed=1)
    return train_student(documents, vectors, vocabulary_size=VOCABULARY, seed=7)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_vector_is_the_normalised_sum_of_the_rows_of_the_first_tokens(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    dimension, max_tokens = data.draw(st.sampled_from([3, 64, 100, 384])), data.draw(st.sampled_from([16, 300, 1200]))
    ids = np.unique(rng.integers(0, 500, 50)).astype(np.uint32)
    table = rng.integers(-127, 128, (len(ids), dimension)).astype(np.int8)
    lengths = data.draw(st.lists(st.integers(0, 1500), min_size=1, max_size=4))
    documents = [rng.integers(0, 600, length).astype(np.uint32) for length in lengths]
    got = embed(Student(ids, table, vocabulary_size=550, max_tokens=max_tokens), documents)
    row_of = dict(zip(ids.tolist(), table.astype(np.int64), strict=True))
    for vector, document in zip(got, documents, strict=True):
        total = sum((row_of.get(t, 0) for t in document[:max_tokens].tolist()), np.zeros(dimension, np.int64))
        if not total.any():
            total[0] = 1
        assert np.array_equal(vector, (total * (1 / np.sqrt(float(total @ total)))).astype(np.float32))


def test_sums_at_the_limit_of_int8_do_not_overflow() -> None:
    student = Student(np.array([3], np.uint32), np.full((1, 64), -127, np.int8), vocabulary_size=4, max_tokens=4096)
    assert np.allclose(embed(student, [np.full(4096, 3)]), -1 / 8)


def test_documents_it_was_not_trained_on_come_near_their_topic(student: Student) -> None:
    documents, vectors, labels = topics(200, seed=2)
    similarities = embed(student, documents) @ np.stack([vectors[labels == k].mean(axis=0) for k in range(5)]).T
    assert (similarities.argmax(axis=1) == labels).mean() > 0.95


def test_few_documents_teach_more_where_words_have_vectors() -> None:
    directions = np.random.default_rng(5).normal(size=(5, 32))
    words = np.random.default_rng(6).normal(size=(VOCABULARY, 32)).astype(np.float32)
    for topic in range(5):
        words[topic * 200 : topic * 200 + 200] += 2 * directions[topic]
    documents, vectors, _ = topics(30, seed=1)
    others, expected, _ = topics(200, seed=2)

    def cosine(**options: Callable[[NDArray[np.uint32]], NDArray[np.float32] | None]) -> float:
        student = train_student(documents, vectors, vocabulary_size=VOCABULARY, seed=7, **options)
        return float((embed(student, others) * expected).sum(axis=1).mean())

    assert cosine(words=lambda ids_R: words[ids_R]) > cosine() + 0.02
    assert cosine(words=lambda ids_R: None) == cosine()


def test_each_vector_depends_on_its_own_document_alone(student: Student) -> None:
    documents, _, _ = topics(30, seed=3)
    together = embed(student, documents)
    assert np.array_equal(together, np.concatenate([embed(student, [d]) for d in documents]))
    assert np.array_equal(together[::-1], embed(student, documents[::-1]))
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


def test_a_document_without_a_known_token_is_the_first_axis(student: Student) -> None:
    axis = np.eye(1, student.dimension, dtype=np.float32)[0]
    for document in ([], [4999], [VOCABULARY, 2**32 - 1]):
        assert np.array_equal(embed(student, [np.array(document, np.uint32)])[0], axis)


def test_training_is_reproducible_and_the_seed_matters() -> None:
    documents, vectors, _ = topics(100, seed=4)
    first, again, other = (
        train_student(documents, vectors, vocabulary_size=VOCABULARY, seed=seed).to_bytes() for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_bytes_give_back_the_same_student(student: Student) -> None:
    copy = Student.from_bytes(student.to_bytes())
    documents, _, _ = topics(20, seed=5)
    assert np.array_equal(embed(copy, documents), embed(student, documents))
    assert (copy.digest, copy.version, copy.dimension) == (student.digest, student.version, student.dimension)


def test_damaged_bytes_are_refused_with_a_sentence(student: Student) -> None:
    value = student.to_bytes()
    for damaged in (b"", value[: len(value) // 2], b"\x96" + value[1:-1], b"\xc0"):
        with pytest.raises(ValueError, match="restore the state"):
            Student.from_bytes(damaged)


def test_only_rows_that_training_saw_are_stored(student: Student) -> None:
    documents, _, _ = topics(400, seed=1)
    seen = len(np.unique(np.concatenate(documents)))
    assert len(student.to_bytes()) < seen * (student.dimension + 4) + 100


@pytest.mark.parametrize("documents", [[], [[]], [[], []], [[7]]])
def test_training_on_next_to_nothing_gives_unit_vectors(documents: list[list[int]]) -> None:
    tokens = [np.array(document, np.uint32) for document in documents]
    student = train_student(tokens, np.eye(len(tokens), 8, dtype=np.float32), vocabulary_size=10, seed=0)
    assert np.allclose(np.linalg.norm(embed(student, [np.array([7, 8]), np.array([], np.uint32)]), axis=1), 1)


def test_progress_counts_to_the_end() -> None:
    documents, vectors, _ = topics(20, seed=6)
    calls: list[tuple[int, int]] = []
    train_student(
        documents, vectors, vocabulary_size=VOCABULARY, seed=0, progress=lambda done, total: calls.append((done, total))
    )
    assert calls[-1][0] == calls[-1][1] == len(calls)


def test_the_share_of_known_tokens_is_over_what_it_looks_at() -> None:
    documents, vectors, _ = topics(200, seed=4)
    student = train_student(documents, vectors, vocabulary_size=VOCABULARY, max_tokens=10, seed=0)
    unknown = np.full(10, VOCABULARY - 1, np.uint32)

    assert student.known_share(documents) == 1.0
    assert student.known_share([np.concatenate((documents[0][:10], unknown))]) == 1.0
    assert student.known_share([np.concatenate((unknown[:6], documents[0][:40]))]) == 0.4
    assert student.known_share([documents[0][:10], unknown]) == 0.5
    assert student.known_share([]) == 1.0
