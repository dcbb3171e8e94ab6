"""Embedder: documents to vectors, from the warm-up on.

At the start the teacher embeds half of the warm-up documents, which train the student; the others, which it was not
trained on, seed the clusters. From then on student vectors only, for all of them: the two spaces are not mixed.
When the stream has become another, a new version of the student takes the place of the old one between two ticks
(curation/vectors/retraining.py). In `teacher` mode the teacher embeds every document, and nothing has to be trained.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curation.vectors.lessons import Lessons
from curation.vectors.student import Student, train_student
from curation.vectors.teacher import EmbeddingConfig, Progress, Teacher, check_teacher, open_teacher
from curatord.errors import ConfigError
from kernels.columns import Ragged, bounds_of
from ops.memory import return_freed_memory
from state.epoch import Epoch
from state.facts import DECIMAL, NUMBERS, RAW, Facts, FactSource, Family, single
from state.token_arrays import Tokens

# The student is one large value; facts and journal records are of bounded size.
PART_BYTES = 1 << 20
_PARTS = Facts(Family("embedding", "a part of the student's table"), NUMBERS, RAW)  # by version and part
_VERSION = single("student", DECIMAL)


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
        lessons: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._config = config
        self._decode = decode
        self._vocabulary_size = vocabulary_size
        self._seed = seed
        self._threads = threads
        self._lessons = Lessons(lessons)
        self._progress = progress
        self._teacher: Teacher | None = None  # while it is needed
        self._student: Student | None = None
        self._stored: list[tuple[int, int]] = []  # keys of the parts that are facts
        self._is_new = False  # since it was written
        self.version = 0  # of the student; 0: there is none

    @property
    def is_trained(self) -> bool:
        """Whether documents can be embedded; before, they wait for the warm-up."""
        return self._student is not None or self._config.mode == "teacher"

    @property
    def dimension(self) -> int:
        """Of the vectors. Loads the teacher while there is no student."""
        return self._student.dimension if self._student is not None else self._open_teacher().dimension

    def check(self) -> None:
        """Raise `ConfigError` if the teacher that will be needed is not there. Loads nothing."""
        if self._student is None:
            try:
                check_teacher(self._config.model)
            except ValueError as error:
                raise ConfigError(str(error)) from error

    @property
    def stores_vectors(self) -> bool:
        """Whether vectors cannot be computed again from tokens to the last bit, and so are facts."""
        return self._config.mode == "teacher"

    def train(self, documents: Sequence[Tokens], progress: Progress | None = None) -> Student:
        """A student of the teacher on these documents.

        Changes no vector here, and may run on a thread of its own. `progress(done, total)` hears of the teacher's
        documents, and goes on to be called while the student is trained; what it raises ends that, and the lessons
        that the teacher gave until then are known to the next training.
        """
        try:
            return self._train(documents, progress or self._progress)
        finally:
            self._teacher = None
            gc.collect()  # a model is a circle of objects, and large
            return_freed_memory()

    def _train(self, documents: Sequence[Tokens], tell: Progress | None) -> Student:
        teacher = self._open_teacher()
        total = len(documents)
        return train_student(
            documents,
            self._lessons.take([self._read(tokens) for tokens in documents], teacher, tell),
            vocabulary_size=self._vocabulary_size,
            max_tokens=self._config.student_tokens,
            seed=self._seed,
            words=lambda ids_R: teacher.word_vectors([self._decode(ids_R[r : r + 1]) for r in range(len(ids_R))]),
            progress=None if tell is None else lambda epoch, epochs: tell(total, total),
        )

    def forget(self, documents: Sequence[Tokens]) -> None:
        """No student is trained on these any more."""
        self._lessons.forget([self._read(tokens) for tokens in documents])

    def end_training(self) -> None:
        """No student is trained any more."""
        self._lessons.clear()

    def adopt(self, student: Student) -> None:
        """Embed with this student from now on: the next version."""
        self._student = student
        self._is_new = True
        self.version += 1

    def embed(self, documents: Sequence[Tokens]) -> NDArray[np.float32]:
        """Unit vectors, one a document."""
        if self._student is None:
            return self._open_teacher().encode([self._read(tokens) for tokens in documents], self._progress)
        tokens_T = np.concatenate([np.zeros(0, np.uint32), *documents]).astype(np.uint32, copy=False)
        return self._student.embed(Ragged(tokens_T, bounds_of([len(tokens) for tokens in documents])))

    def known_share(self, documents: Sequence[Tokens]) -> float:
        """Which share of their tokens the student knows; 1 without one."""
        return 1.0 if self._student is None else self._student.known_share(documents)

    def _read(self, tokens: Tokens) -> str:
        """The text of a document, as far as a student looks."""
        return self._decode(tokens[: self._config.student_tokens])

    def _open_teacher(self) -> Teacher:
        if self._teacher is None:
            is_student = self._config.mode == "student"
            try:
                check_teacher(self._config.model)
                self._teacher = open_teacher(self._config.model, self._threads, for_lessons=is_student)
            except ValueError as error:
                raise ConfigError(str(error)) from error
        return self._teacher

    def write(self, epoch: Epoch) -> None:
        """A new student becomes a fact, and the version before it goes."""
        if not self._is_new or self._student is None:
            return
        self._is_new = False
        for key in self._stored:
            _PARTS.delete(epoch, key)
        value = self._student.to_bytes()
        starts = range(0, len(value), PART_BYTES)
        self._stored = [(self.version, part) for part in range(len(starts))]
        for key, start in zip(self._stored, starts, strict=True):
            _PARTS.put(epoch, key, value[start : start + PART_BYTES])
        _VERSION.put(epoch, None, self.version)

    def restore(self, committed: FactSource) -> None:
        """Put the student back, unless it is this one already."""
        if self.version == (_VERSION.get(committed, None) or 0):
            return
        found = list(_PARTS.items(committed))
        self._stored = [key for key, _ in found]
        self._student = Student.from_bytes(b"".join(part for _, part in found))
        self.version = found[0][0][0]
        self._is_new = False


def held_out(documents: Sequence[Tokens]) -> Sequence[Tokens]:
    """Every other document of a warm-up, on which no student is trained; a single one it must be."""
    return documents[1::2] or documents
