"""Samples for people, of what a pipeline made: texts of documents that went out or are held, and words of clusters."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from consumers.formats.arrays import as_numbers
from curatord.sequence import HEAD_PRESENT
from daemon.commands.explain import find_placements
from daemon.commands.read_state import Damage
from daemon.pipeline import Pipeline
from state.segments import find_document
from state.store import Store
from state.token_arrays import Tokens

MAX_DOCUMENTS = 2048
MAX_TAUGHT = 128  # where a teacher of 10 ms a document embeds
MAX_TOKENS = 512  # of each, from its start
NUM_WORDS = 4
MAX_WORD = 20  # characters
# A run of letters is a word; of scripts that set no spaces, two letters are.
_LETTERS = re.compile(r"[^\W\d_]{3,}|[\u2e80-\u9fff\uac00-\ud7af\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff]{2,}")
_UNSPACED = re.compile(r"[\u2e80-\u9fff\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterLine:
    """One cluster, as it is now."""

    cluster: int
    documents: int
    words: tuple[str, ...]  # of the highest tf-idf in a sample of its documents
    central_doc_id: str  # of that sample the most like the centre; "" where none is known


def largest_clusters(output: Path, store: Store, pipeline: Pipeline, count: int) -> tuple[ClusterLine, ...]:
    """The clusters with most documents, told by a sample of documents, each looked at as the clusters are now.

    What a document was assigned to when it came says little of clusters that split after it.
    """
    clusters = pipeline.compose.clusters
    if not clusters.is_seeded:
        return ()
    ids, centres_KD, _ = clusters.centres()
    slots = {cluster: slot for slot, cluster in enumerate(ids.tolist())}
    documents = _sample(output, pipeline, MAX_TAUGHT if pipeline.compose.embedder.stores_vectors else MAX_DOCUMENTS)
    if documents:
        cosines_BK = pipeline.compose.embedder.embed([tokens for _, tokens in documents]) @ centres_KD.T
        slots_B = cosines_BK.argmax(axis=1)
        texts = [pipeline.decide.prepare.tokenizer.decode(tokens) for _, tokens in documents]
        words = [set(words_of(text)) for text in texts]
    else:
        cosines_BK, slots_B, words = np.zeros((0, len(ids))), np.zeros(0, np.int64), []
    lines: list[ClusterLine] = []
    for summary in clusters.largest(count):
        slot = slots[summary.cluster]
        members = np.flatnonzero(slots_B == slot)
        if len(members):
            central = documents[members[cosines_BK[members, slot].argmax()]][0]
        else:
            found = find_document(store, summary.central_doc_no) if summary.central_doc_no >= 0 else None
            central = found.doc_id if found is not None else ""
            if central in {line.central_doc_id for line in lines}:
                central = ""  # of the cluster that this one was split from
        lines.append(
            ClusterLine(
                cluster=summary.cluster,
                documents=summary.documents,
                words=_telling_words(members.tolist(), words),
                central_doc_id=central,
            )
        )
    return tuple(lines)


def words_of(text: str) -> Iterator[str]:
    """Words that may name a topic, in lower case."""
    for run in _LETTERS.findall(text.lower()):
        if _UNSPACED.match(run):
            yield from (run[at : at + 2] for at in range(len(run) - 1))
        elif len(run) <= MAX_WORD:
            yield run


def _telling_words(members: Sequence[int], words: Sequence[set[str]]) -> tuple[str, ...]:
    """Words that most members have and few others: highest tf-idf, a document counted once."""
    everywhere = Counter(word for found in words for word in found)
    here = Counter(word for member in members for word in words[member])
    least = 2 if len(members) > 2 else 1
    scores = {word: count * math.log(len(words) / everywhere[word]) for word, count in here.items() if count >= least}
    return tuple(sorted(scores, key=lambda word: (-scores[word], word))[:NUM_WORDS])


def _sample(output: Path, pipeline: Pipeline, count: int) -> list[tuple[str, Tokens]]:
    """Documents with the beginning of their tokens: of the newest shards, and of those that are held."""
    found: dict[str, Tokens] = {}
    for path in sorted(output.glob("train-[0-9][0-9][0-9]-*-*.parquet"), reverse=True):
        if len(found) >= count:
            break
        with pq.ParquetFile(path) as file:
            for group in range(file.metadata.num_row_groups):
                for doc_id, tokens in _beginnings(file.read_row_group(group)):
                    found.setdefault(doc_id, tokens)
                if len(found) >= count:
                    break
    held = pipeline.held
    for doc_no in held.numbers()[: count - len(found)]:
        found.setdefault(held[doc_no].doc_id, held[doc_no].tokens[:MAX_TOKENS])
    return list(found.items())[:count]


def _beginnings(table: object) -> Iterator[tuple[str, Tokens]]:
    columns = ("input_ids", "seq_lengths", "segment_flags", "doc_ids")
    for row in range(table.num_rows):  # type: ignore[attr-defined]
        tokens, lengths, flags, ids = (table.column(name)[row] for name in columns)  # type: ignore[attr-defined]
        tokens_T, ends_S = as_numbers(tokens.values), np.cumsum(as_numbers(lengths.values))
        for doc_id, end, length, flag in zip(ids.as_py(), ends_S, lengths.as_py(), flags.as_py(), strict=True):
            if flag & HEAD_PRESENT:
                yield doc_id, tokens_T[end - length : end][:MAX_TOKENS].astype(np.uint32)


def texts_of(output: Path, store: Store, pipeline: Pipeline, doc_nos: Sequence[int]) -> dict[int, str]:
    """The beginnings of accepted documents, from their tokens; what was let go without going out is left out."""
    found = {}
    for doc_no in doc_nos:
        tokens = _tokens_of(output, store, pipeline, doc_no)
        if tokens is not None:
            found[doc_no] = pipeline.decide.prepare.tokenizer.decode(tokens)
    return found


def _tokens_of(output: Path, store: Store, pipeline: Pipeline, doc_no: int) -> Tokens | None:
    held = pipeline.held
    if doc_no in held:
        return held[doc_no].tokens[:MAX_TOKENS]
    placed = next((piece for piece in find_placements(store, doc_no, Damage()) if not piece.start), None)
    if placed is None:
        return None
    for path in output.glob(f"train-{placed.generation:03d}-*.parquet"):
        first, last = map(int, path.stem.split("-")[2:4])
        if first <= placed.seq_no <= last:
            with pq.ParquetFile(path) as file:
                tokens = _row_tokens(file, placed.seq_no - first)
            return tokens[placed.position : placed.position + min(placed.length, MAX_TOKENS)]
    return None


def _row_tokens(file: pq.ParquetFile, row: int) -> Tokens:
    for group in range(file.metadata.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if row < count:
            column = file.read_row_group(group, columns=["input_ids"]).column("input_ids")
            tokens: Tokens = as_numbers(column[row].values).astype(np.uint32)
            return tokens
        row -= count
    raise ValueError("the shard has fewer rows than its name says")
