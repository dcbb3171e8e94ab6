"""`curatord find`: which documents that were emitted, or wait for it, hold given texts, and in which sequences.

The tokens of every shard are decoded and searched for the texts as [decontaminate] searches documents: an evaluation
set that comes later than the documents is found in what trainers have read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from curation.decontamination.questions import Mode, Questions
from curatord.errors import ConfigError, UsageError
from curatord.folder import SHARD_NAME
from curatord.printable import printable
from curatord.sequence import HEAD_PRESENT, TAIL_PRESENT
from daemon.commands.explain import find_placements, find_versions
from daemon.commands.read_state import Damage, opened_for_reading, refuse_unmasked
from daemon.commands.screen import show
from daemon.config import load_config
from daemon.evaluation_sets import questions_in
from kernels.columns import join_texts
from packing.held_blocks import BLOCKS
from packing.placements import PLACEMENTS
from packing.tokenizer import Tokenizer, open_tokenizer
from state.store import Store

BATCH_DOCUMENTS = 256
OVERLAP_TOKENS = 512  # of the piece before, since a text may lie on both sides of a cut
BEGINNING = 60  # characters of a text on the screen


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A text in a document."""

    set: str
    id: str
    text: str
    share: float  # of the text, as the mode counts
    document: str
    sequences: list[tuple[int, int]]  # (generation, seq_no) of the pieces that hold it; none while it waits
    document_sequences: list[tuple[int, int]]  # of all pieces of the document


@dataclass(frozen=True, slots=True)
class _Piece:
    """Tokens of a document, and where they went."""

    doc_id: str
    tokens: NDArray[Any]
    sequence: tuple[int, int] | None  # None: it waits
    flags: int  # HEAD_PRESENT | TAIL_PRESENT


def find(files: Sequence[str], output: Path, *, field: str, mode: Mode, config_path: Path | None, as_json: bool) -> int:
    """Print where the texts of files are in an output; 0.

    Raises `UsageError` where nothing can be looked for, `StateError` if the state cannot be read.
    """
    config = load_config(config_path)
    try:
        questions = Questions(questions_in(files, field, config.input, "find", config.mask), mode)
    except ConfigError as error:
        raise UsageError(f"{error} (--field says what the field with the text is called, here {field!r})") from error
    if not questions.questions:
        raise UsageError("no text has 13 words, 4 of them different: shorter ones are found by chance")
    tokenizer, damage = open_tokenizer(config.tokenizer), Damage()
    with opened_for_reading(output) as store:
        refuse_unmasked(store, masks=config.mask.enabled)
        _check_tokenizer(store, tokenizer)
        hits = _hits(_pieces(output, store, damage), questions, tokenizer)
        found = [
            _hit(questions, number, share, doc_id, sequences, store, damage)
            for (number, doc_id), (share, sequences) in sorted(hits.items())
        ]
    if as_json:
        click.echo(json.dumps([asdict(hit) for hit in found], indent=2))
    else:
        _tell(found, questions)
    for problem in damage.problems:
        show(f"curatord: something is damaged, so hits may be missing above: {problem}", err=True)
    return 0


def _check_tokenizer(store: Store, tokenizer: Tokenizer) -> None:
    """Raise `UsageError` unless the tokens of the output are this tokenizer's."""
    committed = store.committed()
    made_with = "" if committed is None else json.loads(committed.identity).get("tokenizer", "")
    if made_with and not made_with.endswith(f"({tokenizer.digest:016x})"):
        raise UsageError(
            f"the output was made with the tokenizer {made_with}, and the configuration names {tokenizer.name}: give "
            "the configuration of the output with --config"
        )


def _pieces(output: Path, store: Store, damage: Damage) -> Iterator[_Piece]:
    """Pieces of all documents that were emitted, in the order of their sequences, then of those that wait."""
    shards = sorted(path for path in output.glob("train-*.parquet") if SHARD_NAME.fullmatch(path.name))
    if not shards and next(PLACEMENTS.keys(store), None) is not None:
        raise UsageError(
            f"sequences were emitted, and none of their shards is in {output}: copy the shards there, from the URL or "
            "the folder where they are"
        )
    for path in shards:
        yield from _of_shard(path, damage)
    for _, block in damage.as_far_as_readable(BLOCKS.items(store)):
        for row, doc_id in enumerate(block.ids):
            yield _Piece(doc_id, block.tokens[row], None, HEAD_PRESENT | TAIL_PRESENT)


def _of_shard(path: Path, damage: Damage) -> Iterator[_Piece]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = ["seq_no", "input_ids", "seq_lengths", "doc_ids", "segment_flags"]
    try:
        with pq.ParquetFile(path) as file:
            generation = int((file.schema_arrow.metadata or {}).get(b"curatord.generation", b"0"))
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=columns).combine_chunks()
                ids = table.column("input_ids").chunk(0)
                tokens_T, firsts = ids.values.to_numpy(), ids.offsets.to_pylist()
                others = [
                    table.column(name).to_pylist() for name in ("seq_no", "seq_lengths", "doc_ids", "segment_flags")
                ]
                for first, seq_no, lengths, doc_ids, flags in zip(firsts[:-1], *others, strict=True):
                    at = first
                    for length, doc_id, flag in zip(lengths, doc_ids, flags, strict=True):
                        yield _Piece(doc_id, tokens_T[at : at + length], (generation, seq_no), flag)
                        at += length
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        damage.problems.append(f"{path.name}: {error}")


def _hits(
    pieces: Iterator[_Piece], questions: Questions, tokenizer: Tokenizer
) -> dict[tuple[int, str], tuple[float, set[tuple[int, int]]]]:
    """By question and document: the share, and the sequences of the pieces that hold it."""
    hits: dict[tuple[int, str], tuple[float, set[tuple[int, int]]]] = {}
    cut: dict[str, NDArray[Any]] = {}  # the last tokens of documents that go on in a later sequence
    while batch := list(islice(pieces, BATCH_DOCUMENTS)):
        texts = []
        for piece in batch:
            before_T = cut.pop(piece.doc_id, None) if not piece.flags & HEAD_PRESENT else None
            tokens_T = piece.tokens if before_T is None else np.concatenate((before_T, piece.tokens))
            if not piece.flags & TAIL_PRESENT:
                cut[piece.doc_id] = tokens_T[-OVERLAP_TOKENS:]
            texts.append(tokenizer.decode(tokens_T))
        for row, number, share in questions.find_all(join_texts(texts)):
            piece = batch[row]
            best, sequences = hits.setdefault((number, piece.doc_id), (0.0, set()))
            sequences |= set() if piece.sequence is None else {piece.sequence}
            hits[number, piece.doc_id] = max(best, share), sequences
    return hits


def _hit(
    questions: Questions,
    number: int,
    share: float,
    doc_id: str,
    sequences: set[tuple[int, int]],
    store: Store,
    damage: Damage,
) -> Hit:
    """A text in a document, with all that the state knows of where the document went."""
    question = questions.questions[number]
    placements = [
        (placement.generation, placement.seq_no)
        for verdict in find_versions(store, doc_id, damage)
        for placement in find_placements(store, verdict.doc_no, damage)
    ]
    return Hit(
        set=question.set,
        id=question.id,
        text=question.text,
        share=round(share, 4),
        document=doc_id,
        sequences=sorted(sequences),
        document_sequences=sorted({*placements, *sequences}),
    )


def _tell(found: Sequence[Hit], questions: Questions) -> None:
    """The hits, a text after the other, and how many texts are nowhere."""
    told = None
    for hit in found:
        if (hit.set, hit.id) != told:
            told = hit.set, hit.id
            show(f"{hit.id} of {hit.set}: {printable(hit.text[:BEGINNING])}")
        where = "waits to be emitted"
        if hit.sequences:
            where = "sequence " + ", ".join(_name(sequence) for sequence in hit.sequences)
        rest = [_name(sequence) for sequence in hit.document_sequences if sequence not in hit.sequences]
        show(
            f"  {hit.share:.2f} in {hit.document}: {where}"
            + (f"; the document also in {', '.join(rest)}" if rest else "")
        )
    num_found, num_all = len({(hit.set, hit.id) for hit in found}), len(questions.questions)
    left_out = f"; {questions.left_out:,} are too short to be told from chance" if questions.left_out else ""
    show(f"{num_found:,} of {num_all:,} texts are in documents that were emitted or wait{left_out}.")


def _name(sequence: tuple[int, int]) -> str:
    """A sequence by its number, with the generation where it is not the first."""
    generation, seq_no = sequence
    return f"{seq_no}" if not generation else f"{seq_no} of generation {generation}"
