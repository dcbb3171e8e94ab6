"""Retraining: the student learns again when the stream has become another.

A table over token ids is good for text like that it was trained on and for no other: a student of arXiv abstracts
knows 99 % of their tokens and has a cosine of 0.74 to the teacher there; on Python's PEPs it is 86 % and 0.23, on
German law 61 % and 0.06 (benchmarks/drift.py). The share of tokens that it knows tells, at no cost, when to train.

    watch ─ the share fell by `retrain_drop` ─▸ collect ─ the sample is full ─▸ train ─ `TRAINING_TICKS` later ─▸ watch

The sample holds the beginnings of `warmup_documents` documents of the stream. To collect is to let every other one of
them go and to take in new ones, so that a version is trained on the present and, the less the longer ago, on the past;
a warm-up that the end of the input cut short is made up for, too. Training runs on a thread of its own while documents
go on. When it ends does not matter: the new version takes over after a fixed number of ticks, and if it is not ready by
then, documents wait. So equal streams give equal sequences, stopped and resumed or not: a training that was interrupted
begins again from the sample, which is a fact, with the lessons that it had.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet

import msgspec
import numpy as np
from numpy.typing import NDArray

from curation.vectors.embedder import Embedder, Trained
from curation.vectors.embedding_config import EmbeddingConfig
from curation.vectors.teacher import Progress
from curation.vectors.training_sample import Sample
from curatord.errors import ConfigError
from ops.readings import Gauges
from state.fact_table import FactCell, FactOwner, Table
from state.facts import FactSource, packed, single
from state.token_arrays import Tokens

# Between the tick that fills the sample and the first that the new version embeds: 4,096 documents at most, which at a
# crawler's pace come no sooner than the training is done.
TRAINING_TICKS = 8
# What is known of a tick's tokens counts half after 7 ticks; one document in 8 is looked at.
FADE = 0.9
LOOKED_AT = 8
WAIT_S = 0.1

_WATCHING, _COLLECTING = 0, -1  # above: ticks until a version in training takes over

Vectors = NDArray[np.float32]


class _State(msgspec.Struct, frozen=True, array_like=True):
    phase: int
    usual_share: float
    share: float
    next_block: int
    next_doc_no: int


_STATE = single("retraining", packed(_State))


class Retraining(FactOwner):
    """When to train, on what, and when to use it. `progress` is called while documents wait for a training."""

    def __init__(self, config: EmbeddingConfig, embedder: Embedder, *, progress: Progress | None = None) -> None:
        self._config = config
        self._embedder = embedder
        self._progress = progress
        self._sample = Sample(config.student_tokens)
        self._phase = _WATCHING
        self._usual_share = 1.0  # when the present version began
        self._share = 1.0
        self._training: Training | None = None
        self._cell = FactCell(_STATE, self._state())

    @property
    def known_share(self) -> float:
        """Share of the tokens of the latest ticks that the student knows."""
        return self._share

    def measured(self) -> Gauges:
        """The student by metric."""
        return {"embedding_version": self._embedder.version, "embedding_known_ratio": self._share}

    def begin(self, doc_nos: Sequence[int], documents: Sequence[Tokens]) -> None:
        """The first version, trained on every other one of these, documents of the warm-up."""
        self._embedder.begin(documents[::2])
        if not self._is_on():
            self._embedder.end_training()
            return
        self._sample.add(doc_nos, documents)
        self._settle()
        if len(self._sample) < self._config.warmup_documents:
            self._phase = _COLLECTING

    def observe(self, doc_nos: Sequence[int], documents: Sequence[Tokens]) -> None:
        """The documents of a tick, which the student has embedded: is it still one for them?"""
        if not self._is_on():
            return
        self._share = FADE * self._share + (1.0 - FADE) * self._embedder.known_share(documents[::LOOKED_AT])
        if self._phase > 0:
            self._phase = max(1, self._phase - 1)
            self._train()
            return
        if self._phase == _WATCHING and self._share < self._usual_share - self._config.retrain_drop:
            self._embedder.forget(self._sample.thin())
            self._phase = _COLLECTING
        if self._phase == _COLLECTING:
            self._sample.add(doc_nos, documents)
            if len(self._sample) >= self._config.warmup_documents:
                self._phase = TRAINING_TICKS
                self._train()

    def renew(self) -> tuple[Vectors, Vectors] | None:
        """Before each tick: if a new version is due, the embedder adopts it.

        Then these are the vectors (S, D) of documents that it was not trained on, by the version before and by itself.
        Raises `ConfigError` if it could not be trained.
        """
        if self._phase != 1 or not self._is_on():
            return None
        try:
            trained = self._train().result(self._progress)
        except ConfigError as error:
            raise ConfigError(
                f"{error} The stream has changed so much that the student must be trained again; to go on with the one "
                "that there is, set embedding.retrain_drop = 1.0"
            ) from error
        self._training = None
        unseen = self._sample.unseen()
        before_SD = self._embedder.embed(unseen)
        self._embedder.adopt(trained)
        self._settle()
        return before_SD, self._embedder.embed(unseen)

    def _settle(self) -> None:
        """Remember how well the new version knows the latest documents that it was not trained on."""
        unseen = self._sample.unseen()
        self._usual_share = self._share = self._embedder.known_share(unseen[len(unseen) // 2 :])
        self._phase = _WATCHING

    def _is_on(self) -> bool:
        return self._config.mode == "student" and self._config.retrain_drop < 1.0

    def _train(self) -> Training:
        if self._training is None:
            documents = self._sample.learned()
            self._training = Training(lambda progress: self._embedder.train(documents, progress))
        return self._training

    def remove(self, doc_no: int) -> None:
        """A retracted document: nothing is trained on it any more."""
        tokens = self._sample.remove(doc_no)
        if tokens is not None:
            self.close()
            self._embedder.forget([tokens])
            if not len(self._sample):
                self._phase = _COLLECTING

    def close(self) -> None:
        """Give up a training that goes on; if it is still wanted, it begins anew."""
        if self._training is not None:
            self._training.stop()
            self._training = None

    def tables(self) -> tuple[Table, ...]:
        """How far it is, and the sample."""
        return self._cell, *self._sample.tables()

    def _state(self) -> _State:
        sample = self._sample
        return _State(self._phase, self._usual_share, self._share, sample.next_block, sample.next_doc_no)

    def before_commit(self) -> None:
        """The counters as they are."""
        self._cell.value = self._state()

    def restored(self, committed: FactSource) -> None:
        """The counters as they were."""
        state = self._cell.value
        self._phase, self._usual_share, self._share = state.phase, state.usual_share, state.share
        self._sample.next_block, self._sample.next_doc_no = state.next_block, state.next_doc_no


class _Stopped(Exception):
    """The student is not wanted any more."""


class Training:
    """A student in the making, on a thread of its own. It ends with the process, at the next group of the teacher."""

    def __init__(self, train: Callable[[Progress], Trained]) -> None:
        self._result: Future[Trained] = Future()
        self._stopping = threading.Event()
        self._done = (0, 1)
        self._thread = threading.Thread(target=self._run, args=(train,), name="training", daemon=True)
        # A thread that still computes when the interpreter goes takes the process down with it.
        atexit.register(self.stop)
        self._thread.start()

    def _run(self, train: Callable[[Progress], Trained]) -> None:
        try:
            self._result.set_result(train(self._note))
        except BaseException as error:  # told to the caller of the result
            self._result.set_exception(error)

    def _note(self, done: int, total: int) -> None:
        self._done = done, total
        if self._stopping.is_set():
            raise _Stopped

    def result(self, progress: Progress | None) -> Trained:
        """The student; while it is not there, `progress(done, total)` is called. Raises what the training raised."""
        while True:
            try:
                student = self._result.result(WAIT_S)
            except NotYet:
                if progress is not None:
                    progress(*self._done)
            else:
                self.stop()
                return student

    def stop(self) -> None:
        """Give up, if it is not done."""
        self._stopping.set()
        self._thread.join()
        atexit.unregister(self.stop)
