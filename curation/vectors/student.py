"""Student: the teacher's vectors, approximated by a table over token ids.

A document's vector is the normalised sum of its tokens' rows, which the packer's tokens make nearly free: no second
tokenizer, no network, ~8 us a document. The rows are trained on documents whose teacher vectors are known, by cosine.
Token dropout of 0.95 keeps the table from memorising them: each time, a twentieth of a document must do for the whole,
which also makes an epoch so cheap that 80 of them are. Half of what the table starts from are the mean vectors of the
documents that hold a token, half the vectors that the teacher itself has for words, mapped into the space of documents.

With 2,048 documents of 20 Newsgroups (3 CPU-s) it reaches 94 % of the teacher's k-means NMI on others at K = 20
and 97 % at K = 100 (docs/decisions/0027-lessons.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from kernels.bag import COLUMNS, embed_bags, start_table, train_epoch
from kernels.columns import Ragged
from ops.memory import lookup_table

VERSION = 1

TOKEN_DROPOUT = 0.95
EPOCHS = 80
BATCH_DOCUMENTS = 64
LEARNING_RATE = 0.01
RIDGE = 0.1
# int8 spans this many standard deviations of the table; the few values beyond are clipped.
CLIP_DEVIATIONS = 6.0


class _Record(msgspec.Struct, frozen=True, array_like=True):
    version: int
    dimension: int
    max_tokens: int
    vocabulary_size: int
    token_ids: bytes  # u32, ascending
    table: bytes  # i8, a row of `dimension` for each id


class Student:
    """A table of int8 rows for the token ids `ids_R` (ascending); all other tokens count nothing.

    A document without a known token is the first axis, as is one whose rows cancel.
    """

    def __init__(
        self, ids_R: NDArray[np.uint32], table_RD: NDArray[np.int8], *, vocabulary_size: int, max_tokens: int
    ) -> None:
        self._ids_R = ids_R
        self._max_tokens = max_tokens
        self._rows_V = np.full(vocabulary_size, -1, np.int32)
        self._rows_V[ids_R] = np.arange(len(ids_R), dtype=np.int32)
        self.dimension = table_RD.shape[1]
        self._padded_RD = lookup_table((len(ids_R), -(-self.dimension // COLUMNS) * COLUMNS), np.int8)
        self._padded_RD[:, : self.dimension] = table_RD
        self.version = VERSION
        self.digest = xxhash.xxh3_128_hexdigest(self.to_bytes())

    def embed(self, tokens: Ragged[np.uint32]) -> NDArray[np.float32]:
        """Unit vectors (B, D) of documents.

        Only the first `max_tokens` of each count. Each vector depends on its own document alone, to the last bit.
        """
        embeddings_BD = np.empty((len(tokens), self.dimension), np.float32)
        flat_N, num_columns = self._padded_RD.reshape(-1), self._padded_RD.shape[1]
        documents = tokens.values_T, tokens.bounds_B1
        embed_bags(*documents, self._max_tokens, self._rows_V, flat_N, num_columns, embeddings_BD)
        return embeddings_BD

    def known_share(self, documents: Sequence[NDArray[np.unsignedinteger]]) -> float:
        """Which share of the tokens that it looks at it knows; 1 of none."""
        heads = [tokens[: self._max_tokens] for tokens in documents]
        tokens_T = np.concatenate(heads) if heads else np.zeros(0, np.uint32)
        return float((self._rows_V.take(tokens_T, mode="clip") >= 0).mean()) if len(tokens_T) else 1.0

    def to_bytes(self) -> bytes:
        """The whole student, for `from_bytes`."""
        return msgspec.msgpack.encode(
            _Record(
                version=VERSION,
                dimension=self.dimension,
                max_tokens=self._max_tokens,
                vocabulary_size=len(self._rows_V),
                token_ids=self._ids_R.astype("<u4").tobytes(),
                table=np.ascontiguousarray(self._padded_RD[:, : self.dimension]).tobytes(),
            )
        )

    @classmethod
    def from_bytes(cls, value: bytes) -> Student:
        """Raises ValueError on anything but a student of this version."""
        try:
            record = msgspec.msgpack.decode(value, type=_Record)
        except msgspec.DecodeError as error:
            raise ValueError(f"not a student table: {error}; restore the state from a backup") from error
        if record.version != VERSION:
            raise ValueError(
                f"the student table has version {record.version}, this program reads {VERSION}: use the program that "
                "wrote it, or start a new state"
            )
        ids_R = np.frombuffer(record.token_ids, "<u4").astype(np.uint32)
        table = np.frombuffer(record.table, np.int8)
        if record.dimension < 1 or table.size != ids_R.size * record.dimension:
            raise ValueError("the student table is cut short; restore the state from a backup")
        return cls(
            ids_R,
            table.reshape(-1, record.dimension),
            vocabulary_size=record.vocabulary_size,
            max_tokens=record.max_tokens,
        )


def train_student(
    documents: Sequence[NDArray[np.unsignedinteger]],
    teacher_vectors_SD: NDArray[np.float32],
    *,
    vocabulary_size: int,
    max_tokens: int = 512,
    seed: int,
    words: Callable[[NDArray[np.uint32]], NDArray[np.float32] | None] = lambda ids_R: None,
    progress: Callable[[int, int], None] | None = None,
) -> Student:
    """Train on S documents' token ids and their teacher's unit vectors (S, D).

    `words` gives vectors (R, E) of token ids in a space of any kind, if there are such; with them, tokens of a few
    documents are better known.

    Equal inputs give an equal student on one machine. `progress(done, total)` counts epochs. Documents without tokens
    teach nothing; without any token at all the student knows none. Raises ValueError for ids beyond the vocabulary.
    """
    if len(documents) != len(teacher_vectors_SD):
        raise ValueError(f"{len(documents)} documents but {len(teacher_vectors_SD)} vectors")
    heads = [tokens[:max_tokens].astype(np.uint32) for tokens in documents]
    offsets_S1 = np.zeros(len(heads) + 1, np.int64)
    np.cumsum([len(head) for head in heads], out=offsets_S1[1:])
    tokens_T = np.concatenate(heads) if heads else np.zeros(0, np.uint32)
    if tokens_T.size and int(tokens_T.max()) >= vocabulary_size:
        raise ValueError(f"token id {int(tokens_T.max())} is outside the vocabulary of {vocabulary_size}")
    ids_R, places_T = np.unique(tokens_T, return_inverse=True)
    rows_T = places_T.astype(np.int32)
    targets_SD = np.ascontiguousarray(teacher_vectors_SD, np.float32)
    table_RD = np.zeros((len(ids_R), targets_SD.shape[1]), np.float32)
    start_table(rows_T, offsets_S1, targets_SD, table_RD)
    words_RE = words(ids_R) if tokens_T.size else None
    if words_RE is not None:
        table_RD += _mapped(words_RE, rows_T, offsets_S1, targets_SD, table_RD)
        table_RD /= np.float32(2.0)
        del words_RE
    _train(rows_T, offsets_S1, targets_SD, table_RD, seed, progress)
    return Student(ids_R, _quantize(table_RD), vocabulary_size=vocabulary_size, max_tokens=max_tokens)


def _train(
    rows_T: NDArray[np.int32],
    offsets_S1: NDArray[np.int64],
    targets_SD: NDArray[np.float32],
    table_RD: NDArray[np.float32],
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Train the table in place."""
    first_RD, second_RD = np.zeros_like(table_RD), np.zeros_like(table_RD)
    rng = np.random.default_rng(seed)
    threshold = np.uint64(int((1.0 - TOKEN_DROPOUT) * 2**64))
    step = 0
    for epoch in range(EPOCHS):
        step = train_epoch(
            rows_T,
            offsets_S1,
            targets_SD,
            rng.permutation(len(targets_SD)),
            BATCH_DOCUMENTS,
            threshold,
            np.float32(LEARNING_RATE * (1.0 - epoch / EPOCHS)),
            np.uint64(rng.integers(0, 2**63)),
            step,
            table_RD,
            first_RD,
            second_RD,
        )
        if progress is not None:
            progress(epoch + 1, EPOCHS)


def _mapped(
    words_RE: NDArray[np.float32],
    rows_T: NDArray[np.int32],
    offsets_S1: NDArray[np.int64],
    targets_SD: NDArray[np.float32],
    like_RD: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Rows in the teacher's space: `words_RE`, weighted by idf, times the matrix that maps sums over documents best.

    By ridge regression; their mean square is that of `like_RD`.
    """
    num_documents, num_rows = len(targets_SD), len(words_RE)
    document_T = np.repeat(np.arange(num_documents, dtype=np.int64), np.diff(offsets_S1))
    holders_R = np.bincount(np.unique(document_T * num_rows + rows_T) % num_rows, minlength=num_rows)
    weighted_RE = words_RE - words_RE.mean(axis=0)
    weighted_RE *= np.log((1.0 + num_documents) / holders_R).astype(np.float32)[:, None]
    bounds = pairwise(offsets_S1.tolist())
    sums_SE = np.stack([weighted_RE[rows_T[start:end]].sum(axis=0, dtype=np.float64) for start, end in bounds])
    sums_SE /= np.linalg.norm(sums_SE, axis=1, keepdims=True) + 1e-9
    ridge = RIDGE * num_documents / words_RE.shape[1]
    covariance_EE = sums_SE.T @ sums_SE + ridge * np.eye(words_RE.shape[1])
    mapped_RD: NDArray[np.float32] = weighted_RE @ np.linalg.solve(covariance_EE, sums_SE.T @ targets_SD).astype(
        np.float32
    )
    mapped_RD *= np.float32(np.sqrt(_mean_square(like_RD) / max(_mean_square(mapped_RD), 1e-30)))
    return mapped_RD


def _mean_square(table_RD: NDArray[np.float32]) -> float:
    return float(np.einsum("rd,rd->", table_RD, table_RD, dtype=np.float64)) / table_RD.size


def _quantize(table_RD: NDArray[np.float32]) -> NDArray[np.int8]:
    """int8 by one scale for the whole table, which the normalisation takes out again."""
    limit = CLIP_DEVIATIONS * float(np.sqrt(_mean_square(table_RD))) if table_RD.size else 0.0
    if not limit > 0.0:
        return np.zeros(table_RD.shape, np.int8)
    quantized_RD: NDArray[np.int8] = np.clip(np.rint(table_RD * (127.0 / limit)), -127, 127).astype(np.int8)
    return quantized_RD
