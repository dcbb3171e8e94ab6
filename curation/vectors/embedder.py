"""Embedder: documents to vectors, from the warm-up on.

At the start the teacher embeds half of the warm-up documents, which train the student; the others, which it was not
trained on, seed the clusters. From then on student vectors only, for all of them: the two spaces are not mixed.
When the stream has become another, a new version of the student takes the place of the old one between two ticks
(curation/vectors/retraining.py). In `teacher` mode the teacher embeds every document, and nothing has to be trained.

Whether a second teacher stands beside the first hangs on the documents of each training; in `teacher` mode, on those of
the warm-up, for ever.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from curation.vectors.embedding_config import NONE, EmbeddingConfig, second_teacher
from curation.vectors.lessons import Lessons
from curation.vectors.multilingual import foreign, is_installed, told_apart
from curation.vectors.student import Student, train_student
from curation.vectors.teacher import Progress, Teacher, check_teachers, open_teacher, unit_vectors
from curatord.errors import ConfigError
from kernels.columns import Ragged, bounds_of
from ops.memory import return_freed_memory
from state.epoch import Epoch
from state.facts import DECIMAL, NUMBERS, RAW, Facts, FactSource, Family, packed, single
from state.token_arrays import Tokens

# The student is one large value; facts and journal records are of bounded size.
PART_BYTES = 1 << 20
# Share of documents that are not English from which on a second teacher is worth its time.
LEAST_FOREIGN = 0.01


class Teachers(msgspec.Struct, frozen=True, array_like=True):
    """Fact: the teachers of the present vectors, and why."""

    beside: str = NONE  # the model beside the first
    foreign_share: float = 0.0  # of the documents that they were chosen for: not English


@dataclass(frozen=True, slots=True)
class Trained:
    """A student, and its teachers."""

    student: Student
    teachers: Teachers


_PARTS = Facts(Family("embedding", "a part of the student's table"), NUMBERS, RAW)  # by version and part
_VERSION = single("student", DECIMAL)
_TEACHERS = single("teachers", packed(Teachers))


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
        self.teachers: Teachers | None = None  # of its vectors; states of earlier versions do not say

    @property
    def is_trained(self) -> bool:
        """Whether documents can be embedded; before, they wait for the warm-up."""
        return self._student is not None or (self.stores_vectors and self.teachers is not None)

    @property
    def untaught_share(self) -> float:
        """Share of the documents that no teacher can read, for the package of a second one is not installed."""
        found = self.teachers or Teachers()
        is_untaught = found.beside == NONE and found.foreign_share >= LEAST_FOREIGN
        return found.foreign_share if is_untaught and second_teacher(self._config) != NONE else 0.0

    @property
    def dimension(self) -> int:
        """Of the vectors. Loads the teacher while there is no student."""
        return self._student.dimension if self._student is not None else self._open_teacher().dimension

    def check(self) -> None:
        """Raise `ConfigError` if a teacher that will be needed is not there. Loads nothing."""
        if self._student is None:
            try:
                check_teachers(self._config)
            except ValueError as error:
                raise ConfigError(str(error)) from error

    @property
    def stores_vectors(self) -> bool:
        """Whether vectors cannot be computed again from tokens to the last bit, and so are facts."""
        return self._config.mode == "teacher"

    def begin(self, documents: Sequence[Tokens]) -> None:
        """The first vectors are by what is learned of these documents of the warm-up."""
        if self.stores_vectors:
            self.teachers = self._choose([self._read(tokens) for tokens in documents])
            self._is_new = True
        else:
            self.adopt(self.train(documents))

    def train(self, documents: Sequence[Tokens], progress: Progress | None = None) -> Trained:
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

    def _train(self, documents: Sequence[Tokens], tell: Progress | None) -> Trained:
        texts, total = [self._read(tokens) for tokens in documents], len(documents)
        teachers = self._choose(texts)
        teacher = self._open_teacher(teachers.beside)
        lessons_SD = self._lessons.take(texts, teacher, tell)
        student = train_student(
            documents,
            lessons_SD if teachers.beside == NONE else unit_vectors(told_apart(lessons_SD, texts)),
            vocabulary_size=self._vocabulary_size,
            max_tokens=self._config.student_tokens,
            seed=self._seed,
            words=lambda ids_R: teacher.word_vectors([self._decode(ids_R[r : r + 1]) for r in range(len(ids_R))]),
            progress=None if tell is None else lambda epoch, epochs: tell(total, total),
        )
        return Trained(student, teachers)

    def _choose(self, texts: list[str]) -> Teachers:
        """A second teacher for texts of which some are not in English, if there is one."""
        second, share = second_teacher(self._config), float(foreign(texts).mean()) if texts else 0.0
        return Teachers(second if share >= LEAST_FOREIGN and is_installed(second) else NONE, share)

    def forget(self, documents: Sequence[Tokens]) -> None:
        """No student is trained on these any more."""
        self._lessons.forget([self._read(tokens) for tokens in documents])

    def end_training(self) -> None:
        """No student is trained any more."""
        self._lessons.clear()

    def adopt(self, trained: Trained) -> None:
        """Embed with this student from now on: the next version."""
        self._student, self.teachers = trained.student, trained.teachers
        self._is_new = True
        self.version += 1

    def embed(self, documents: Sequence[Tokens]) -> NDArray[np.float32]:
        """Unit vectors, one a document."""
        if self._student is None:
            beside = self.teachers.beside if self.teachers is not None else NONE
            return self._open_teacher(beside).encode([self._read(tokens) for tokens in documents], self._progress)
        tokens_T = np.concatenate([np.zeros(0, np.uint32), *documents]).astype(np.uint32, copy=False)
        return self._student.embed(Ragged(tokens_T, bounds_of([len(tokens) for tokens in documents])))

    def known_share(self, documents: Sequence[Tokens]) -> float:
        """Which share of their tokens the student knows; 1 without one."""
        return 1.0 if self._student is None else self._student.known_share(documents)

    def _read(self, tokens: Tokens) -> str:
        """The text of a document, as far as a student looks."""
        return self._decode(tokens[: self._config.student_tokens])

    def _open_teacher(self, beside: str = NONE) -> Teacher:
        if self._teacher is None or self._teacher.beside != beside:
            is_student = self._config.mode == "student"
            try:
                check_teachers(self._config, beside)
                self._teacher = open_teacher(self._config.model, self._threads, beside=beside, for_lessons=is_student)
            except ValueError as error:
                raise ConfigError(str(error)) from error
        return self._teacher

    def write(self, epoch: Epoch) -> None:
        """A new student and its teachers become facts, and the version before it goes."""
        if not self._is_new:
            return
        self._is_new = False
        if self.teachers is not None:
            _TEACHERS.put(epoch, None, self.teachers)
        if self._student is None:
            return
        for key in self._stored:
            _PARTS.delete(epoch, key)
        value = self._student.to_bytes()
        starts = range(0, len(value), PART_BYTES)
        self._stored = [(self.version, part) for part in range(len(starts))]
        for key, start in zip(self._stored, starts, strict=True):
            _PARTS.put(epoch, key, value[start : start + PART_BYTES])
        _VERSION.put(epoch, None, self.version)

    def restore(self, committed: FactSource) -> None:
        """Put the student and its teachers back, unless it is this one already."""
        self.teachers = _TEACHERS.get(committed, None)
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
