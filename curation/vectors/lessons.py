"""Lessons: vectors that the teacher gave, kept in the state's folder, so that a training that was interrupted goes on.

A lesson depends on the teacher and the text alone. So the file is a cache and no fact: without it, the teacher is asked
again and says the same. It holds the lessons of the latest training and of the one that goes on, by a hash of the text.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from curation.vectors.teacher import Progress, Teacher

LOCKED_S = 2.0  # that another process may hold the file, as a backup does; ours hold it for milliseconds


class Lessons:
    """The file at `path`; without one, nothing is kept. A file that cannot be read or written is done without."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def take(self, texts: list[str], teacher: Teacher, progress: Progress | None) -> NDArray[np.float32]:
        """The teacher's vectors (B, D) of `texts`, of which it encodes those that are new.

        Each group of the teacher is kept at once. In the end only the lessons of `texts` are. `progress(done, total)`
        is called before the first group and after each.
        """
        tell = progress or (lambda done, total: None)
        keys = [xxhash.xxh3_128_digest(text.encode()) for text in texts]
        known = self._load(teacher)
        new = [place for place, key in enumerate(keys) if key not in known]
        done = len(texts) - len(new)
        tell(done, len(texts))
        is_kept = True
        for vectors_BD in teacher.encode_groups([texts[place] for place in new]):
            learned = {keys[place]: vector_D for place, vector_D in zip(new, vectors_BD, strict=False)}
            del new[: len(vectors_BD)]
            known |= learned
            is_kept = is_kept and self._keep(learned)  # a wait for a file that is locked is not repeated
            done += len(vectors_BD)
            tell(done, len(texts))
        self._drop(known.keys() - keys)
        return np.stack([known[key] for key in keys]) if keys else np.zeros((0, teacher.dimension), np.float32)

    def forget(self, texts: list[str]) -> None:
        """Documents that are retracted, or not trained on any more, leave no trace here."""
        if self._path is not None and self._path.exists():
            self._drop({xxhash.xxh3_128_digest(text.encode()) for text in texts})

    def clear(self) -> None:
        """No training is to come."""
        if self._path is not None:
            for path in (self._path, self._path.with_name(self._path.name + "-journal")):
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def _load(self, teacher: Teacher) -> dict[bytes, NDArray[np.float32]]:
        """The lessons of this teacher; those of another one go, and so does a file that cannot be read."""
        for _ in range(0 if self._path is None else 2):
            try:
                return self._read(teacher)
            except (sqlite3.Error, ValueError, TypeError):  # the two last: a value that is no vector
                self.clear()
        return {}

    def _read(self, teacher: Teacher) -> dict[bytes, NDArray[np.float32]]:
        with closing(self._open()) as file, file:
            file.execute("CREATE TABLE IF NOT EXISTS teacher (digest TEXT)")
            file.execute("CREATE TABLE IF NOT EXISTS lessons (key BLOB PRIMARY KEY, vector BLOB)")
            if file.execute("SELECT digest FROM teacher").fetchall() != [(teacher.digest,)]:
                file.execute("DELETE FROM teacher")
                file.execute("DELETE FROM lessons")
                file.execute("INSERT INTO teacher VALUES (?)", (teacher.digest,))
            rows = file.execute("SELECT key, vector FROM lessons").fetchall()
            return {key: np.frombuffer(vector, np.float32, teacher.dimension) for key, vector in rows}

    def _keep(self, lessons: dict[bytes, NDArray[np.float32]]) -> bool:
        """Whether they could be written."""
        if self._path is None:
            return False
        with suppress(sqlite3.Error), closing(self._open()) as file, file:
            rows = [(key, vector_D.tobytes()) for key, vector_D in lessons.items()]
            file.executemany("INSERT OR REPLACE INTO lessons VALUES (?, ?)", rows)
            return True
        return False

    def _drop(self, keys: set[bytes]) -> None:
        if self._path is not None and keys:
            with suppress(sqlite3.Error), closing(self._open()) as file, file:
                file.executemany("DELETE FROM lessons WHERE key = ?", [(key,) for key in keys])

    def _open(self) -> sqlite3.Connection:
        file = sqlite3.connect(str(self._path), timeout=LOCKED_S)
        # A lesson that is lost is learned again: no need to wait for the disk.
        file.execute("PRAGMA synchronous = OFF")
        file.execute("PRAGMA secure_delete = ON")
        return file
