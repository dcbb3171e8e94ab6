"""Student and clusters on labelled documents: 20 Newsgroups, AG News and a synthetic stream.

Run as `python -m benchmarks.embedding_clusters`. The student learns from lessons, as in the daemon; it is held against
the vectors that the teacher gives in `teacher` mode, which take minutes and are kept in the system's folder for
temporary files. Needs the development corpora (CURATORD_TEST_CORPORA names their folder).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mistral_common
import numpy as np
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

from curation.topics.clusters import Clusters, ClustersConfig
from curation.vectors.student import Student, train_student
from curation.vectors.teacher import Teacher
from kernels.columns import Ragged
from state.token_arrays import Tokens
from tests.corpus import CORPORA, read_zst_jsonl

FILES = {"20 Newsgroups": "20newsgroups", "AG News": "ag_news_test"}
TRAINING_DOCUMENTS = 2048
SEEDS = (0, 1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Labelled documents: N labels, teacher vectors, lessons (for those that a split trains on) and token ids."""

    labels_N: NDArray[np.int64]
    vectors_ND: NDArray[np.float32]
    lessons_ND: NDArray[np.float32]
    tokens: list[NDArray[np.uint32]]


def load(name: str) -> Corpus:
    """A corpus with its teacher vectors, from the cache if they are there."""
    documents = list(read_zst_jsonl(CORPORA / "labelled" / f"{FILES[name]}.jsonl.zst"))
    texts = [document["text"] for document in documents]
    teacher = Teacher(threads=os.cpu_count() or 1)
    cache = Path(tempfile.gettempdir()) / f"curatord-{FILES[name]}-{teacher.digest}.npy"
    if not cache.exists():
        np.save(cache, teacher.encode(texts, lambda done, total: print(f"\r  teacher {done}/{total}", end="")))
        print()
    vectors_ND = np.load(cache)
    trained_on = np.unique(np.concatenate([split(len(texts), seed)[0] for seed in SEEDS]))
    lessons_ND = np.zeros_like(vectors_ND)
    with_lessons = Teacher(threads=os.cpu_count() or 1, for_lessons=True)
    began = time.process_time()
    lessons_ND[trained_on] = with_lessons.encode([texts[i] for i in trained_on])
    lesson_ms = (time.process_time() - began) / len(trained_on) * 1e3
    cosine = float(np.einsum("nd,nd->n", lessons_ND[trained_on], vectors_ND[trained_on]).mean())
    print(f"  lessons: {with_lessons.arithmetic}, {lesson_ms:.1f} CPU-ms each, cosine to the teacher {cosine:.3f}")
    tokenizer = Tekkenizer.from_file(Path(mistral_common.__file__).parent / "data" / "tekken_240911.json")
    encode = tokenizer._model.encode_ordinary
    return Corpus(
        labels_N=np.unique([document["label"] for document in documents], return_inverse=True)[1],
        vectors_ND=vectors_ND,
        lessons_ND=lessons_ND,
        tokens=[np.array(encode(text), np.uint32) for text in texts],
    )


def embed(student: Student, tokens: Sequence[Tokens]) -> NDArray[np.float32]:
    """Student vectors of some documents."""
    offsets_B1 = np.concatenate(([0], np.cumsum([len(document) for document in tokens]))).astype(np.int64)
    return student.embed(Ragged(np.concatenate(tokens).astype(np.uint32, copy=False), offsets_B1))


def kmeans_scores(labels_N: NDArray[np.int64], vectors_ND: NDArray[np.float32], k: int) -> tuple[float, float]:
    """NMI and AMI of batch k-means to the labels, mean over seeds."""
    found = [KMeans(k, n_init=1, random_state=seed).fit_predict(vectors_ND) for seed in SEEDS]
    return (
        float(np.mean([normalized_mutual_info_score(labels_N, one) for one in found])),
        float(np.mean([adjusted_mutual_info_score(labels_N, one) for one in found])),
    )


def split(num_documents: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Training documents and the others."""
    order_N = np.random.default_rng(seed).permutation(num_documents)
    num_training = min(TRAINING_DOCUMENTS, len(order_N) // 2)
    return order_N[:num_training], order_N[num_training:]


def train(corpus: Corpus, training: NDArray[np.int64]) -> Student:
    """A student of these documents."""
    tokens = [corpus.tokens[i] for i in training]
    return train_student(tokens, corpus.lessons_ND[training], vocabulary_size=131072, seed=0)


def report_student(name: str, corpus: Corpus) -> None:
    """NMI of k-means on student vectors against that on teacher vectors, on documents it was not trained on."""
    ks = (20, 100) if name == "20 Newsgroups" else (4, 20, 100)
    scores: dict[int, list[tuple[float, float]]] = {k: [] for k in ks}
    for seed in SEEDS:
        training, others = split(len(corpus.labels_N), seed)
        began = time.process_time()
        student = train(corpus, training)
        training_s = time.process_time() - began
        tokens = [corpus.tokens[i] for i in others]
        embed(student, tokens)
        began = time.process_time()
        vectors_ND = embed(student, tokens)
        embedding_us = (time.process_time() - began) / len(others) * 1e6
        cosine = float(np.einsum("nd,nd->n", vectors_ND, corpus.vectors_ND[others]).mean())
        for k in ks:
            ours, teachers = (
                kmeans_scores(corpus.labels_N[others], vectors, k)[0]
                for vectors in (vectors_ND, corpus.vectors_ND[others])
            )
            scores[k].append((ours, teachers))
    print(f"  student: trained in {training_s:.1f} CPU-s, {embedding_us:.1f} us a document, cosine {cosine:.3f}")
    for k in ks:
        ours, teachers = np.mean(scores[k], axis=0)
        print(f"  NMI k={k:<4d} teacher {teachers:.3f}  student {ours:.3f}  ratio {ours / teachers:.3f}  (>= .92)")


def orders(labels_N: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Random orders, and orders in which one topic comes after another."""
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        order_N = rng.permutation(len(labels_N))
        yield "random", order_N
        yield "in turn", order_N[np.argsort(rng.permutation(labels_N.max() + 1)[labels_N[order_N]], kind="stable")]


def stream(config: ClustersConfig, vectors_ND: NDArray[np.float32]) -> tuple[Clusters, NDArray[np.int32], float]:
    """Seed on the first documents, assign all; with us a document of assigning."""
    clusters = Clusters(config)
    clusters.seed(vectors_ND[: min(TRAINING_DOCUMENTS, len(vectors_ND) // 2)])
    began = time.process_time()
    ids_N = np.concatenate([clusters.assign(vectors_ND[i : i + 512]) for i in range(0, len(vectors_ND), 512)])
    return clusters, ids_N, (time.process_time() - began) / len(vectors_ND) * 1e6


def report_clusters(title: str, labels_N: NDArray[np.int64], vectors_ND: NDArray[np.float32]) -> None:
    """AMI of online clusters against batch k-means at equal K on the same vectors; sizes."""
    rows: dict[str, list[list[float]]] = {}
    batch: dict[int, float] = {}
    for kind, order_N in orders(labels_N):
        clusters, ids_N, cost_us = stream(ClustersConfig(), np.ascontiguousarray(vectors_ND[order_N]))
        k = len(clusters)
        if k not in batch:
            batch[k] = kmeans_scores(labels_N, vectors_ND, k)[1]
        online = float(adjusted_mutual_info_score(labels_N[order_N], ids_N))
        sizes = np.unique(ids_N, return_counts=True)[1]
        small = float(sizes[sizes < 5].sum() / len(ids_N))
        churn = float(len(clusters.take_events()))
        rows.setdefault(kind, []).append(
            [k, online, batch[k], online / batch[k], sizes.max() / len(ids_N), small, churn, cost_us]
        )
    for kind, values in rows.items():
        k, online, kmeans, ratio, largest, small, churn, cost_us = np.mean(values, axis=0)
        print(
            f"  {title:8s} {kind:8s} K {k:5.1f}  AMI {online:.3f}, k-means {kmeans:.3f}, ratio {ratio:.3f} "
            f"(least {min(v[3] for v in values):.3f}, >= .95)  largest {largest:.1%} (<= 15 %)  "
            f"in clusters < 5: {small:.2%} (<= 1 %)  events {churn:.0f}  {cost_us:.0f} us a document"
        )


def zipf_stream(num_documents: int, *, common: bool) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """200 topics of 64 dimensions whose sizes fall like 1/rank; with a common component, unrelated cosines are .36."""
    rng = np.random.default_rng(3)
    shares = 1 / np.arange(1, 201)
    centres = rng.normal(size=(200, 64))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    labels_N = rng.choice(200, num_documents, p=shares / shares.sum())
    vectors_ND = centres[labels_N] + rng.normal(size=(num_documents, 64)) * 0.6 / 8
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    if common:
        shift = rng.normal(size=64)
        vectors_ND = 0.8 * vectors_ND + 0.6 * shift / np.linalg.norm(shift)
        vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return labels_N, vectors_ND.astype(np.float32)


def report_zipf() -> None:
    """NMI to the topics, with room for all of them and with the default of 100 clusters."""
    for common in (False, True):
        labels_N, vectors_ND = zipf_stream(40_000, common=common)
        for max_clusters in (256, 100):
            scores: dict[str, list[float]] = {}
            for kind, order_N in orders(labels_N):
                _, ids_N, _ = stream(ClustersConfig(max_clusters=max_clusters), vectors_ND[order_N])
                scores.setdefault(kind, []).append(float(normalized_mutual_info_score(labels_N[order_N], ids_N)))
            for kind, values in scores.items():
                print(
                    f"  {'common component' if common else 'isotropic':16s} {kind:8s} at most {max_clusters} clusters: "
                    f"NMI {np.mean(values):.3f} (>= .95 with room)"
                )


def main() -> None:
    """Print the tables."""
    for name in FILES:
        print(f"{name}")
        corpus = load(name)
        report_student(name, corpus)
        training, others = split(len(corpus.labels_N), 0)
        student = train(corpus, training)
        report_clusters("teacher", corpus.labels_N, corpus.vectors_ND)
        report_clusters("student", corpus.labels_N[others], embed(student, [corpus.tokens[i] for i in others]))
    print("Zipf stream of 200 topics, 40,000 documents")
    report_zipf()


if __name__ == "__main__":
    main()
