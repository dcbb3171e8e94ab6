"""Topics in other languages: a mix of web corpora with the second teacher and without, and pages that find their own.

Run as `python -m benchmarks.languages`. The mix has up to 3,000 documents of each file of the development corpora's
web/ (no books) and of 20 Newsgroups, shuffled. Effective clusters are the exponential of the entropy of shares. Needs
the development corpora (CURATORD_TEST_CORPORA names their folder).
"""

from __future__ import annotations

import random
import re
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from curation.topics.clusters import Clusters, ClustersConfig
from curation.vectors.embedder import Embedder, held_out
from curation.vectors.embedding_config import DEFAULT_MODEL, NONE, UNIVERSAL, EmbeddingConfig
from curation.vectors.teacher import open_teacher
from kernels.columns import join_texts
from packing.tokenizer import Tokenizer, TokenizerConfig, open_tokenizer
from state.token_arrays import Tokens
from tests.corpus import CORPORA, read_zst_jsonl

POSTS = "20newsgroups"
MOST_OF_A_FILE = 3000
PAGES = 150
TICK = 512
SEEDS = (0, 1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Documents of several files, in the order of the stream."""

    sources_N: NDArray[Any]
    labels_N: NDArray[Any]  # newsgroups; "" elsewhere
    tokens: list[Tokens]


def read_mix(tokenizer: Tokenizer) -> Mix:
    """The mix that benchmarks/results call so."""
    documents = []
    for path in [*sorted((CORPORA / "web").glob("*.zst")), CORPORA / "labelled" / f"{POSTS}.jsonl.zst"]:
        if "books" not in path.name:
            found = list(read_zst_jsonl(path))
            random.Random(1).shuffle(found)
            source = path.name.split(".")[0]
            documents += [(one["text"], source, one.get("label", "")) for one in found[:MOST_OF_A_FILE]]
    random.Random(2).shuffle(documents)
    texts, sources, labels = zip(*documents, strict=True)
    return Mix(
        sources_N=np.array(sources),
        labels_N=np.array(labels),
        tokens=[t for i in range(0, len(texts), TICK) for t in tokenizer.encode_batch(join_texts(texts[i : i + TICK]))],
    )


def effective(ids_N: NDArray[np.int32]) -> float:
    """The number of clusters of equal size with the same entropy."""
    shares_K = np.unique(ids_N, return_counts=True)[1] / len(ids_N)
    return float(np.exp(-(shares_K * np.log(shares_K)).sum()))


def report_mix(mix: Mix, tokenizer: Tokenizer, multilingual: str, folder: Path) -> None:
    """Warm up as the daemon does, and assign all documents."""
    config = EmbeddingConfig(multilingual=multilingual)
    embedder = Embedder(
        config,
        decode=tokenizer.decode,
        vocabulary_size=tokenizer.vocabulary_size,
        seed=0,
        threads=1,
        lessons=folder / f"{multilingual}.sqlite",
    )
    began = time.process_time()
    embedder.begin(mix.tokens[: config.warmup_documents : 2])
    training_s = time.process_time() - began
    clusters = Clusters(ClustersConfig())
    clusters.seed(embedder.embed(held_out(mix.tokens[: config.warmup_documents])))
    vectors_ND = np.concatenate([embedder.embed(mix.tokens[i : i + TICK]) for i in range(0, len(mix.tokens), TICK)])
    ids_N = np.concatenate([clusters.assign(vectors_ND[i : i + TICK]) for i in range(0, len(vectors_ND), TICK)])
    ids_N = np.array([clusters.survivor(cluster) for cluster in ids_N.tolist()], np.int32)
    assert embedder.teachers is not None
    print(
        f"beside: {embedder.teachers.beside} ({embedder.teachers.foreign_share:.1%} foreign), trained in "
        f"{training_s:.0f} CPU-s, {len(clusters)} clusters"
    )
    for source in sorted({*mix.sources_N.tolist()}):
        of_N = mix.sources_N == source
        largest = np.unique(ids_N[of_N], return_counts=True)[1].max() / of_N.sum()
        print(
            f"  {source:18s} {of_N.sum():5d} documents, {effective(ids_N[of_N]):5.1f} clusters, largest {largest:.0%}"
        )
    of_N = mix.sources_N == POSTS
    batch = [KMeans(20, n_init=1, random_state=seed).fit_predict(vectors_ND[of_N]) for seed in SEEDS]
    scores = [normalized_mutual_info_score(mix.labels_N[of_N], found) for found in (ids_N[of_N], *batch)]
    print(f"  NMI of posts to newsgroups: {scores[0]:.3f}; of 20 clusters by k-means {np.mean(scores[1:]):.3f}")


def report_pages() -> None:
    """Pages of a language whose nearest English page is the one about the same: prose, without what all have."""
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for page in read_zst_jsonl(CORPORA / "web" / "tldr.jsonl.zst"):
        prose = re.sub(r"`[^`]*`|https?://\S+|^#.*$", "", page["text"], flags=re.MULTILINE)
        groups[page["group"]][page["id"].split("/")[0]] = prose
    for language in ("ko", "zh", "es", "de"):
        names = "tldr:pages", f"tldr:pages.{language}"
        pairs = [tuple(group[name] for name in names) for group in groups.values() if group.keys() >= {*names}]
        random.Random(0).shuffle(pairs)
        found = []
        for beside in (NONE, UNIVERSAL):
            teacher = open_teacher(DEFAULT_MODEL, 1, beside=beside, for_lessons=True)
            english_ND, other_ND = (teacher.encode(list(texts)) for texts in zip(*pairs[:PAGES], strict=True))
            found.append(float(((other_ND @ english_ND.T).argmax(axis=1) == np.arange(len(other_ND))).mean()))
        print(f"  {language}: {found[0]:.2f} by the English teacher, {found[1]:.2f} by both")


def main() -> None:
    """Print the tables."""
    tokenizer = open_tokenizer(TokenizerConfig())
    mix = read_mix(tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        for multilingual in (NONE, "auto"):
            report_mix(mix, tokenizer, multilingual, Path(folder))
    print("English page found")
    report_pages()


if __name__ == "__main__":
    main()
