"""Embedder: documents to vectors, from the warm-up on.

At the start the teacher embeds the warm-up documents; half of them train the student, the others, which it was not
trained on, seed the clusters. From then on student vectors only, for all of them: the two spaces are not mixed.
In `teacher` mode the teacher embeds every document, and nothing has to be trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from curation.embedding import EmbeddingConfig, Progress, Teacher
from curation.student import Student, train_student
from curatord.errors import ConfigError

# The student is one large value; facts and journal records are of bounded size.
PART_BYTES = 1 << 20

Tokens = NDArray[np.unsignedinteger]


class Embedder:
    """Vectors of documents by their tokens. `decode` gives the text that the teacher reads.

    The student is a fact, in parts, so that every process of a lane embeds with the same table.
    """

    def __init__(
        self,
        config: EmbeddingConfig,
        *,
        decode: Callable[[Tokens], str],
        vocabulary_size: int,
        seed: int,
        threads: int,
        progress: Progress | None = None,
    ) -> None:
        self._config = config
        self._decode = decode
        self._vocabulary_size = vocabulary_size
        self._seed = seed
        self._threads = threads
        self._progress = progress
        self._teacher: Teacher | None = None
        self._student: Student | None = None
        self._is_new = False

    @property
    def is_trained(self) -> bool:
        """Whether documents can be embedded; before, they wait for the warm-up."""
        return self._student is not None or self._config.mode == "teacher"

    @property
    def dimension(self) -> int:
        """Of the vectors. Loads the teacher while there is no student."""
        return self._student.dimension if self._student is not None else self._load_teacher().dimension

    @property
    def stores_vectors(self) -> bool:
        """Whether vectors cannot be computed again from tokens to the last bit, and so are facts."""
        return self._config.mode == "teacher"

    def train(self, documents: Sequence[Tokens]) -> NDArray[np.float32]:
        """Train the student on every other document; vectors of the others, to seed the clusters with."""
        vectors_BD = self._teach(documents)
        self._student = train_student(
            documents[::2],
            vectors_BD[::2],
            vocabulary_size=self._vocabulary_size,
            max_tokens=self._config.student_tokens,
            seed=self._seed,
        )
        self._is_new = True
        return self.embed(documents[1::2] or documents)

    def embed(self, documents: Sequence[Tokens]) -> NDArray[np.float32]:
        """Unit vectors, one a document."""
        if self._student is None:
            return self._teach(documents)
        bounds_B1 = np.zeros(len(documents) + 1, np.int64)
        np.cumsum([len(tokens) for tokens in documents], out=bounds_B1[1:])
        tokens_T = np.concatenate(documents).astype(np.uint32, copy=False) if documents else np.zeros(0, np.uint32)
        return self._student.embed(tokens_T, bounds_B1)

    def _teach(self, documents: Sequence[Tokens]) -> NDArray[np.float32]:
        limit = self._config.student_tokens
        return self._load_teacher().encode([self._decode(tokens[:limit]) for tokens in documents], self._progress)

    def _load_teacher(self) -> Teacher:
        if self._teacher is None:
            try:
                self._teacher = Teacher(self._config.model, threads=self._threads)
            except ValueError as error:
                raise ConfigError(str(error)) from error
        return self._teacher

    def changes(self) -> Iterator[tuple[bytes, bytes | None]]:
        """The student, once, after it was trained."""
        if not self._is_new or self._student is None:
            return
        self._is_new = False
        value = self._student.to_bytes()
        for part, start in enumerate(range(0, len(value), PART_BYTES)):
            yield part.to_bytes(4, "big"), value[start : start + PART_BYTES]

    def restore(self, parts: Iterable[tuple[bytes, bytes]]) -> None:
        """Put the student back from its parts, which come in the order of their keys."""
        value = b"".join(part for _, part in parts)
        if value:
            self._student = Student.from_bytes(value)
