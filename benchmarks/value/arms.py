"""Arms: ways to choose documents of a stream, each as the tokens that a model would be trained on.

An arm that cleans reads on until it has as many tokens as it is to have. An arm that selects chooses from the whole
stream; its control is a random thinning of what it could choose from, to as many tokens. All rows are drawn in random
order, for order is no claim, and its effect is larger than that of any curation.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tokenizers
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

from benchmarks.value.stream import Split, Streamed
from state.store import state_folder

VOCABULARY = 4096
EOS = "<eos>"
LESSONS = "lessons.sqlite"  # where the state keeps what the teacher said
CONTEXT_LENGTH = 512
SENTENCE_END = re.compile(r"[.!?]+\s+")

# Options for `curatord curate`, by arm, of other sections than COMMON, which all begin with.
COMMON = f"""
[packing]
context_length = {CONTEXT_LENGTH}
pool_documents = 500
[embedding]
warmup_documents = 1024
"""
FILTERS = '[quality]\npreset = "gopher"\n[language]\nkeep = ["en", "de"]\n'
CLEANING = {
    "default": "",
    "gopher": '[quality]\npreset = "gopher"\n',
    "gopher + languages": FILTERS,
    "fineweb": '[quality]\npreset = "fineweb"\n',
}


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens of a document that lie in one row, and the weight of their loss."""

    doc_id: str
    tokens_T: NDArray[np.int32]
    weight: float = 1.0


def train_tokenizer(data: Split, path: Path) -> None:
    """A small byte-level BPE, the same for all arms, from the first documents of every domain."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[EOS],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        (original.text for originals in data.training.values() for original in originals[:150]), trainer
    )
    tokenizer.save(str(path))


def write_stream(stream: Sequence[Streamed], path: Path) -> None:
    """The stream as JSON lines."""
    rows = ({"id": row.id, "text": row.text, "source": "crawl"} for row in stream)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def plain(stream: Iterable[Streamed], tokenizer: tokenizers.Tokenizer) -> Iterator[Piece]:
    """Every document as it comes."""
    eos = tokenizer.token_to_id(EOS)
    for row in stream:
        ids = tokenizer.encode(row.text, add_special_tokens=False).ids
        yield Piece(row.id, np.array([*ids, eos], np.int32))


def like_datatrove(stream: Iterable[Streamed]) -> Iterator[Streamed]:
    """datatrove's Gopher filters, exact and MinHash deduplication (14 bands of 8) without a verification."""
    from tests.curation.quality.datatrove_filters import build_filters, keeps

    filters = build_filters(SENTENCE_END)
    seen: set[bytes] = set()
    lsh = MinHashLSH(params=(14, 8), num_perm=112)
    for row in stream:
        if not (keeps(filters, "gopher_repetition", row.text) and keeps(filters, "gopher_quality", row.text)):
            continue
        digest = hashlib.blake2b(row.text.encode(), digest_size=16).digest()
        if digest in seen:
            continue
        seen.add(digest)
        words = re.findall(r"\w+", row.text.lower())
        signature = MinHash(num_perm=112)
        signature.update_batch({" ".join(words[i : i + 5]).encode() for i in range(max(1, len(words) - 4))})
        if not lsh.query(signature):
            lsh.insert(row.id, signature)
            yield row


def begin(config: str, folder: Path, tokenizer: Path, lessons: Path) -> Path:
    """An output folder that is new, but for the teacher's vectors, which all arms share; the file of its options."""
    shutil.rmtree(folder, ignore_errors=True)
    state_folder(folder).mkdir(parents=True)
    if lessons.exists():
        shutil.copy(lessons, state_folder(folder) / LESSONS)
    path = folder.with_suffix(".toml")
    sections: dict[str, list[str]] = {}
    for line in (f'[tokenizer]\nname = "{tokenizer}"\neos_token = "{EOS}"\n' + COMMON + config).splitlines():
        if line.startswith("["):
            section = sections.setdefault(line, [line])
        elif line:
            section.append(line)
    path.write_text("\n".join(line for section in sections.values() for line in section) + "\n")
    return path


def keep_lessons(folder: Path, lessons: Path) -> None:
    """Add the vectors that the teacher gave an arm to those that all share."""
    kept = state_folder(folder) / LESSONS
    if not lessons.exists():
        shutil.copy(kept, lessons)
        return
    with closing(sqlite3.connect(lessons)) as file, file:
        file.execute("ATTACH ? AS arm", (str(kept),))
        file.execute("INSERT OR IGNORE INTO lessons SELECT * FROM arm.lessons")


def curated(config: str, inputs: Path, folder: Path, tokenizer: Path, lessons: Path) -> list[Piece]:
    """The output of `curatord curate` on the stream."""
    path = begin(config, folder, tokenizer, lessons)
    command = [sys.executable, "-m", "curatord", "curate", str(inputs), "-o", str(folder), "-c", str(path), "--json"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {result.returncode}:\n{result.stderr[-2000:]}")
    keep_lessons(folder, lessons)
    return list(_pieces(folder))


def _pieces(folder: Path) -> Iterator[Piece]:
    for path in sorted(folder.glob("train-*.parquet")):
        names = set(pq.read_schema(path).names)
        columns = ["input_ids", "seq_lengths", "doc_ids", *({"weights"} & names)]
        for row in pq.read_table(path, columns=columns).to_pylist():
            tokens_T = np.array(row["input_ids"], np.int32)
            weights = row.get("weights") or [1.0] * len(row["doc_ids"])
            start = 0
            for size, doc_id, weight in zip(row["seq_lengths"], row["doc_ids"], weights, strict=False):
                yield Piece(doc_id, tokens_T[start : start + size], weight)
                start += size


def first(pieces: Iterable[Piece], num_tokens: int) -> list[Piece]:
    """The beginning, until there are so many tokens; fewer if there are no more."""
    chosen, total = [], 0
    for piece in pieces:
        if total >= num_tokens:
            break
        chosen.append(piece)
        total += len(piece.tokens_T)
    return chosen


def thinned(pieces: Sequence[Piece], num_tokens: int, seed: int) -> list[Piece]:
    """Whole documents at random, until there are so many tokens."""
    by_document: dict[str, list[Piece]] = {}
    for piece in pieces:
        by_document.setdefault(piece.doc_id, []).append(piece)
    documents = list(by_document.values())
    order = np.random.default_rng(seed).permutation(len(documents))
    return first((piece for place in order for piece in documents[place]), num_tokens)


def num_tokens(pieces: Iterable[Piece]) -> int:
    """Of all pieces."""
    return sum(len(piece.tokens_T) for piece in pieces)


def composition(pieces: Iterable[Piece]) -> Mapping[str, float]:
    """Share of the tokens by kind of document."""
    counts: dict[str, int] = {}
    for piece in pieces:
        kind = piece.doc_id.rsplit("/", 1)[0]
        counts[kind] = counts.get(kind, 0) + len(piece.tokens_T)
    total = sum(counts.values())
    return {kind: count / total for kind, count in sorted(counts.items())}
