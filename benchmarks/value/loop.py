"""A closed loop in one process: the pipeline gives rows, a decoder trains on them, and what it says goes back.

    pages ─ Pipeline.process ─ rows ─ decoder ─ losses ─ Pipeline.learn_from
                          └─ requests ─ curatord's scorer, by a copy of the decoder ─ rewards ─┘

The pipeline, the scorer and the messages are the product's own; only the broker is missing. A tick is 512 rows, so
documents come as *pages* of at most 900 characters: a stream has three times as many ticks then.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from benchmarks.value import arms, decoder
from benchmarks.value.arms import Piece
from benchmarks.value.stream import Streamed
from consumers.broker import RawDocument, RawFeedback
from curation.scoring.checkpoint import Checkpoint
from curation.scoring.scorers import INFLUENCE, Scorers
from curatord.adapters.rows import rows, weights_of
from curatord.feedback import Reporter
from curatord.records import encode_feedback
from curatord.sequence import PackedSequence
from daemon.app import build_restored, encode_identity
from daemon.config import load_config
from daemon.pipeline import Pipeline
from daemon.scoring.service import answers
from state.epoch import Epoch
from state.store import Store, state_folder

PAGE_CHARACTERS = 900
POLL_ROWS = 256
CHECKPOINT_STEPS = 48  # from one copy of the decoder for the scorer to the next
REFERENCE_CHARACTERS = 1200


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainer:
    """The training: on one of `stride` rows, for so many steps, with which the run ends.

    Without a number of steps it is to the end of the stream; with 0 steps so is the run, and nothing is trained.
    """

    seed: int
    rate: float = 1.0
    stride: int = 1
    num_steps: int | None = None


@dataclass(frozen=True, slots=True)
class Looped:
    """The pieces that went out, in their order, and the model that was trained on them."""

    pieces: list[Piece]
    model: decoder.Decoder
    num_pages: int  # read


def pages(stream: Sequence[Streamed]) -> Iterator[Streamed]:
    """Every document as pages."""
    for row in stream:
        for start in range(0, len(row.text), PAGE_CHARACTERS):
            yield Streamed(f"{row.id}@{start}", row.kind, row.base, row.text[start : start + PAGE_CHARACTERS])


class Snapshot(Checkpoint):
    """A copy of the decoder, as a trainer would have saved it."""

    def __init__(self, model: decoder.Decoder, version: int, encode: Callable[[str], Sequence[int]]) -> None:
        self.model: Any = deepcopy(model)
        self.version, self.folder = version, Path()
        self._encode, self._vocabulary, self._length = encode, arms.VOCABULARY, arms.CONTEXT_LENGTH


class Mailbox(Reporter):
    """A trainer's reports, kept in place of being sent."""

    def __init__(self, world: int) -> None:
        super().__init__("", "", {}, run_id="loop", rank=0, world=world)
        self.messages: list[bytes] = []

    def send(self, value: bytes) -> None:
        """Keep a record."""
        self.messages.append(value)


class Loop:
    """One run over a stream. `reference` are texts for the scorer of influence, if there is to be one."""

    def __init__(self, pipeline: Pipeline, trainer: Trainer, reference: Sequence[str]) -> None:
        self._pipeline, self._trainer = pipeline, trainer
        total = trainer.num_steps
        schedule = partial(decoder.falling, num_steps=total) if total else lambda step: min(1.0, (step + 1) / 10)
        self._training = decoder.Training(arms.VOCABULARY, trainer.seed, trainer.rate, schedule)
        self._mailbox = Mailbox(trainer.stride)
        tokenizer = pipeline.decide.prepare.tokenizer
        encode = tokenizers.Tokenizer.from_file(tokenizer.name).encode
        self._encode: Callable[[str], Sequence[int]] = lambda text: encode(text, add_special_tokens=False).ids
        self._scorers = Scorers((INFLUENCE,), reference, damping=0.1, failed=print) if reference else None
        self._waiting: deque[PackedSequence] = deque()
        self._position = 0
        self.pieces: list[Piece] = []

    @property
    def is_trained(self) -> bool:
        """Whether it took all its steps."""
        return self._training.num_steps == self._trainer.num_steps

    @property
    def model(self) -> decoder.Decoder:
        return self._training.model

    def go_on(self, epoch: Epoch) -> None:
        """With the rows of an epoch: train on them, and hand back losses and rewards."""
        for sequence in (sequence for block in epoch.sequences for sequence in block):
            self.pieces += _pieces(sequence)
            if sequence.seq_no % self._trainer.stride == 0:
                self._waiting.append(sequence)
        while len(self._waiting) >= decoder.ROWS_A_STEP and not self.is_trained:
            self._step([self._waiting.popleft() for _ in range(decoder.ROWS_A_STEP)])
        messages, self._mailbox.messages = self._mailbox.messages, []
        if self._scorers is not None and self._scorers.checkpoint is not None:
            messages += map(encode_feedback, answers(self._scorers, epoch.probes, Counter()))
        heard = [RawFeedback("feedback", self._position + n, value) for n, value in enumerate(messages)]
        self._position += len(heard)
        self._pipeline.learn_from(heard, epoch)

    def _step(self, batch: list[PackedSequence]) -> None:
        arrays, step = rows(batch), self._training.num_steps
        losses_BL = self._training.step(arrays.input_ids_BL, weights_of(arrays))
        self._mailbox.report(losses_BL, batch, step=step, shifted=True, skipped=False)
        self._mailbox.flush()
        if self._scorers is not None and step % CHECKPOINT_STEPS == CHECKPOINT_STEPS - 1:
            self._scorers.refresh(Snapshot(self._training.model, step, self._encode))


def _pieces(sequence: PackedSequence) -> Iterator[Piece]:
    start = 0
    for size, doc_id in zip(sequence.segment_lengths_S.tolist(), sequence.doc_ids, strict=True):
        yield Piece(doc_id, sequence.tokens_T[start : start + size].astype(np.int32))
        start += size


def run(
    config: str,
    stream: Sequence[Streamed],
    folder: Path,
    tokenizer: Path,
    lessons: Path,
    trainer: Trainer,
    reference: Sequence[str] = (),
) -> Looped:
    """Run a loop with these options beside `arms.COMMON`, to the end of the stream or of the trainer's steps."""
    path = arms.begin(config, folder, tokenizer, lessons)
    options = load_config(path)
    documents, num_pages = [_raw(page, number) for number, page in enumerate(pages(stream))], 0
    with closing(Store(state_folder(folder))) as store:
        pipeline = build_restored(options, store)
        with closing(pipeline):
            identity = encode_identity(options, pipeline.decide.prepare.tokenizer)
            pipeline.compile()
            loop = Loop(pipeline, trainer, [text[:REFERENCE_CHARACTERS] for text in reference])
            epoch = Epoch(number=1, identity=identity)
            while num_pages < len(documents) and not (trainer.num_steps and loop.is_trained):
                some = documents[num_pages : num_pages + POLL_ROWS]
                pipeline.process(some, epoch)
                num_pages += len(some)
                loop.go_on(epoch)
                pipeline.gather(epoch)
                store.apply(epoch.changes())
                epoch = Epoch(number=epoch.number + 1, identity=identity)
            pipeline.flush(epoch)
            loop.go_on(epoch)
    arms.keep_lessons(folder, lessons)
    shutil.rmtree(folder)
    return Looped(loop.pieces, loop.model, num_pages)


def _raw(page: Streamed, position: int) -> RawDocument:
    value = json.dumps({"id": page.id, "text": page.text, "source": "crawl"}).encode()
    return RawDocument("pages", position, value)
