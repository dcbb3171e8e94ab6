"""Near-duplicate removal against exact Jaccard similarities: `python -m benchmarks.near_dedup_truth [CORPORA]`.

For every file of documents with a list of all its similar pairs: the documents go through near-duplicate removal in
file order. *Missed* are pairs with J >= 0.8 of which both are still there; *wrong* are removed documents whose most
similar earlier document, kept or removed, has J < 0.7. J is over sets of 5-word shingles as the lists define them;
where a document's words are others (scripts without spaces, decomposed characters) J is computed from the texts.

Options of the configuration may be given: `num_bands=16 band_rows=8`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np
import zstandard

from curation.dedup.near import NearDedup, NearDedupConfig
from kernels.columns import join_texts
from kernels.words import code_point_table, normal_form, scratch_arrays, word_hashes
from tests.corpus import CORPORA

SHINGLE_WORDS = 5
ALIKE, UNLIKE = 0.8, 0.7
BATCH_DOCUMENTS = 1000

# Name of the list of pairs, where it differs from the documents' name.
PAIRS = {"powershell-docs": "powershell", "cncf-glossary": "cncf"}
FOLDERS = ("web", "labelled", "crawl", "neardup")


class Document(msgspec.Struct):
    id: str
    text: str


class Pair(msgspec.Struct):
    a: str
    b: str
    j: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    name: str
    num_documents: int
    num_removed: int
    num_alike: int
    num_missed: int
    num_wrong: int

    def row(self) -> str:
        missed = f"{100 * self.num_missed / self.num_alike:.2f} %" if self.num_alike else "-"
        wrong = f"{100 * self.num_wrong / self.num_removed:.2f} %" if self.num_removed else "-"
        return (
            f"| {self.name} | {self.num_documents} | {self.num_removed} | {self.num_alike} | {self.num_missed} "
            f"| {missed} | {self.num_wrong} | {wrong} |"
        )


def read(path: Path, kind: type) -> Iterator:
    decoder = msgspec.json.Decoder(kind)
    with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
        rest = b""
        while chunk := stream.read(1 << 22):
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            yield from map(decoder.decode, lines)
        if rest:
            yield decoder.decode(rest)


def listed_words(text: str) -> list[str]:
    """Words as the lists of pairs count them."""
    return re.findall(r"\w+", text.lower())


def words(text: str) -> list[str]:
    """Words as they are meant: `kernels.words` has their definition."""
    joined = join_texts([normal_form(text)])
    lower, bounds, hashes = scratch_arrays(len(joined.buffer_N))
    number, _ = word_hashes(
        joined.buffer_N, joined.starts_B[0], joined.ends_B[0], code_point_table(), lower, bounds, hashes
    )
    return [lower[bounds[2 * i] : bounds[2 * i + 1]].tobytes().decode() for i in range(number)]


def shingles(found: list[str]) -> frozenset[str]:
    if len(found) < SHINGLE_WORDS:
        return frozenset([" ".join(found)] if found else [])
    return frozenset(" ".join(found[i : i + SHINGLE_WORDS]) for i in range(len(found) - SHINGLE_WORDS + 1))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b) if a or b else 0.0


def remove(documents: list[Document], config: NearDedupConfig) -> list[int]:
    """Which document each document was dropped for; -1 for the survivors."""
    near_dedup, matches = NearDedup(config), []
    for first in range(0, len(documents), BATCH_DOCUMENTS):
        texts = [document.text for document in documents[first : first + BATCH_DOCUMENTS]]
        signatures_BP, has_words_B = near_dedup.sign(join_texts(texts))
        matches += near_dedup.match(np.arange(first, first + len(texts)), signatures_BP, has_words_B).doc_nos_B.tolist()
    return matches


def score(name: str, documents: list[Document], pairs: list[Pair], config: NearDedupConfig) -> Score:
    matches = remove(documents, config)
    place = {document.id: i for i, document in enumerate(documents)}
    differs = [
        bool(set(document.text) - ASCII) and words(document.text) != listed_words(document.text)
        for document in documents
    ]

    @lru_cache(maxsize=20_000)
    def shingles_of(i: int) -> frozenset[str]:
        return shingles(words(documents[i].text))

    best_earlier: dict[int, float] = {}
    alike = []
    for pair in pairs:
        a, b = sorted((place[pair.a], place[pair.b]))
        j = jaccard(shingles_of(a), shingles_of(b)) if differs[a] or differs[b] else pair.j
        best_earlier[b] = max(best_earlier.get(b, 0.0), j)
        if j >= ALIKE:
            alike.append((a, b))
    num_wrong = 0
    for i, match in enumerate(matches):
        if match >= 0 and best_earlier.get(i, 0.0) < UNLIKE:
            # The list may not know the pair, if words differ: ask the texts themselves.
            j = jaccard(shingles_of(i), shingles_of(match)) if differs[i] or differs[match] else 0.0
            num_wrong += j < UNLIKE
    return Score(
        name=name,
        num_documents=len(documents),
        num_removed=sum(match >= 0 for match in matches),
        num_alike=len(alike),
        num_missed=sum(matches[a] < 0 and matches[b] < 0 for a, b in alike),
        num_wrong=num_wrong,
    )


ASCII = frozenset(map(chr, range(128)))


def all_pairs(documents: list[Document]) -> list[Pair]:
    """Every pair with J >= 0.5, by counting shared shingles: for small files."""
    holders: dict[str, list[int]] = {}
    shared: dict[tuple[int, int], int] = {}
    sets = [shingles(words(document.text)) for document in documents]
    for i, found in enumerate(sets):
        for shingle in found:
            others = holders.setdefault(shingle, [])
            for other in others:
                shared[other, i] = shared.get((other, i), 0) + 1
            others.append(i)
    pairs = []
    for (a, b), both in shared.items():
        j = both / (len(sets[a]) + len(sets[b]) - both)
        if j >= 0.5:
            pairs.append(Pair(documents[a].id, documents[b].id, j))
    return pairs


def main(corpora: Path, config: NearDedupConfig) -> None:
    print("| documents | number | removed | pairs J >= 0.8 | missed | share | wrongly removed | share |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    scores = []
    for folder in FOLDERS:
        for path in sorted((corpora / folder).glob("*.jsonl.zst")):
            name = path.name.removesuffix(".jsonl.zst")
            listed = corpora / "neardup" / f"allpairs-{PAIRS.get(name, name)}.jsonl.zst"
            if not listed.exists():
                continue
            documents = list(read(path, Document))
            pairs = all_pairs(documents) if name == "arxiv-zh-llm" else list(read(listed, Pair))
            scores.append(score(name, documents, pairs, config))
            print(scores[-1].row(), flush=True)
    totals = {
        field: sum(getattr(each, field) for each in scores) for field in Score.__dataclass_fields__ if field != "name"
    }
    print(Score(name="**all**", **totals).row())


if __name__ == "__main__":
    options = dict(argument.split("=") for argument in sys.argv[1:] if "=" in argument)
    folders = [argument for argument in sys.argv[1:] if "=" not in argument]
    main(Path(folders[0]) if folders else CORPORA, msgspec.convert(options, NearDedupConfig, strict=False))
