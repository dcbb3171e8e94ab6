"""A stream that becomes another: what a student is worth on text it was not trained on, and after it was trained again.

    python -m benchmarks.drift

The warm-up sees arXiv abstracts. The first table says what that student, and one trained on half as many abstracts and
as many documents of another kind, are worth on each kind: the share of tokens that they know, and the mean cosine to
the teacher, both on documents that they were not trained on. Then 8,192 abstracts are followed by 20 Newsgroups in
random order, tick by tick through student, retraining and clusters as the daemon has them. NMI of the clusters of the
last 2,500 posts to the newsgroups; for comparison, the same posts with a warm-up on newsgroups. Needs the development
corpora.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import normalized_mutual_info_score

from benchmarks.embedding_clusters import embed
from curation.ticks import TICK_ORDINALS
from curation.topics.clusters import Clusters, ClustersConfig
from curation.vectors.embedder import Embedder, held_out
from curation.vectors.embedding_config import EmbeddingConfig
from curation.vectors.retraining import Retraining
from curation.vectors.student import train_student
from curation.vectors.teacher import open_teacher
from kernels.columns import join_texts
from packing.tokenizer import TokenizerConfig, open_tokenizer
from state.token_arrays import Tokens
from tests.corpus import CORPORA, read_zst_jsonl

KINDS = ("arxiv-abstracts", "peps", "win32", "powershell-docs", "tldr", "gesetze-de", "arxiv-zh-llm")
NUM_TRAINING, NUM_OTHER, NUM_TEST = 2048, 1024, 400
WARM_UP = 4096
NUM_ABSTRACTS = 8192
NUM_SCORED = 2500

TOKENIZER = open_tokenizer(TokenizerConfig())


def encode(texts: list[str]) -> list[Tokens]:
    """The beginning of each, as far as a student looks."""
    limit = EmbeddingConfig().student_tokens
    return [tokens[:limit] for tokens in TOKENIZER.encode_batch(join_texts(texts))]


def read(folder: str, name: str, limit: int) -> tuple[list[str], list[str]]:
    """At most so many documents in random order, and their labels."""
    documents = list(read_zst_jsonl(CORPORA / folder / f"{name}.jsonl.zst"))
    chosen = np.random.default_rng(0).permutation(len(documents))[:limit]
    return [documents[i]["text"] for i in chosen], [documents[i].get("label", "") for i in chosen]


@dataclass(frozen=True, slots=True)
class Kind:
    """Documents of one kind with the teacher's vectors."""

    tokens: list[Tokens]
    vectors_ND: NDArray[np.float32]


def worth() -> None:
    """Print the first table."""
    teacher = open_teacher(EmbeddingConfig().model, os.cpu_count() or 1, for_lessons=True)
    kinds = {}
    for name in KINDS:
        wanted = NUM_TEST + (NUM_TRAINING if name == KINDS[0] else NUM_OTHER)
        tokens = encode(read("web", name, wanted)[0])
        kinds[name] = Kind(tokens, teacher.encode([TOKENIZER.decode(one) for one in tokens]))
    students = {}
    first = kinds[KINDS[0]]
    for name, kind in kinds.items():
        old, new = (NUM_TRAINING, 0) if name == KINDS[0] else (NUM_TRAINING // 2, len(kind.tokens) - NUM_TEST)
        students[name] = train_student(
            first.tokens[:old] + kind.tokens[:new],
            np.concatenate((first.vectors_ND[:old], kind.vectors_ND[:new])),
            vocabulary_size=TOKENIZER.vocabulary_size,
            seed=0,
        )

    def score(student: str, name: str) -> str:
        kind = kinds[name]
        test = kind.tokens[-NUM_TEST:]
        vectors_BD = embed(students[student], test)
        cosine = float(np.einsum("bd,bd->b", vectors_BD, kind.vectors_ND[-NUM_TEST:]).mean())
        return f"{students[student].known_share(test):.3f} | {cosine:.2f}"

    print("| kind | of abstracts: knows | cosine | of both: knows | cosine | on abstracts: knows | cosine |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in KINDS:
        print(f"| {name} | {score(KINDS[0], name)} | {score(name, name)} | {score(name, KINDS[0])} |", flush=True)


def stream(documents: list[Tokens], retrain_drop: float) -> tuple[NDArray[np.int32], list[int], float, Clusters]:
    """Cluster of each document, ticks at which a new version took over, seconds of waiting for them, the clusters."""
    config = EmbeddingConfig(warmup_documents=WARM_UP, retrain_drop=retrain_drop)
    embedder = Embedder(
        config, decode=TOKENIZER.decode, vocabulary_size=TOKENIZER.vocabulary_size, seed=0, threads=os.cpu_count() or 1
    )
    retraining, clusters = Retraining(config, embedder), Clusters(ClustersConfig())
    retraining.begin(range(WARM_UP), documents[:WARM_UP])
    clusters.seed(embedder.embed(held_out(documents[:WARM_UP])))
    labels, versions, waited_s = [], [], 0.0
    for start in range(0, len(documents), TICK_ORDINALS):
        tick = documents[start : start + TICK_ORDINALS]
        numbers = np.arange(start, start + len(tick))
        began = time.perf_counter()
        if (renewed := retraining.renew()) is not None:
            waited_s += time.perf_counter() - began
            clusters.renew(*renewed)
            versions.append(start // TICK_ORDINALS)
        labels.append(clusters.assign(embedder.embed(tick), numbers))
        retraining.observe(numbers.tolist(), tick)
    return np.concatenate(labels), versions, waited_s, clusters


def drift() -> None:
    """Print the second table."""
    abstracts = encode(read("web", KINDS[0], NUM_ABSTRACTS)[0])
    texts, names = read("labelled", "20newsgroups", 1 << 20)
    posts = encode(texts)
    labels_N = np.unique(names, return_inverse=True)[1][-NUM_SCORED:]
    print("\n| stream | versions after the first, at tick | waited, s | NMI | clusters |\n|---|---|---:|---:|---:|")
    ways: Sequence[tuple[str, list[Tokens], float]] = (
        ("newsgroups only", posts, 1.0),
        ("abstracts, then newsgroups; never trained again", abstracts + posts, 1.0),
        ("abstracts, then newsgroups", abstracts + posts, EmbeddingConfig().retrain_drop),
        ("newsgroups only, allowed to train again", posts, EmbeddingConfig().retrain_drop),
    )
    for name, documents, retrain_drop in ways:
        found, versions, waited_s, clusters = stream(documents, retrain_drop)
        # An id may have been merged since.
        survivors_N = [clusters.survivor(int(one)) for one in found[-NUM_SCORED:]]
        nmi = normalized_mutual_info_score(labels_N, survivors_N)
        listed = ", ".join(map(str, versions)) or "none"
        print(f"| {name} | {listed} | {waited_s:.0f} | {nmi:.3f} | {len(clusters)} |", flush=True)


if __name__ == "__main__":
    worth()
    drift()
