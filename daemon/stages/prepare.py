"""Prepare: everything about documents that hangs on each of them alone. Pure.

Where documents are prepared in the loop, a stage asks for its numbers when the stages before have dropped what they
drop: exact duplicates are never measured, and near-duplicates never tokenized. Documents that come prepared bring
theirs along. The numbers are the same either way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.formats.documents import Arrivals, Documents
from curation.batch import Batch
from curation.decontamination.questions import Contamination, Questions
from curation.dedup import passages
from curation.dedup.exact import fingerprint
from curation.dedup.near import NearDedup
from curation.dedup.passages import Fingerprints
from curation.quality.judge import Measures, Quality
from daemon.config import Config
from daemon.evaluation_sets import open_questions
from daemon.prepared.columns import Prepared
from daemon.stages.identify import Run
from daemon.stages.mask import MaskArrivals
from kernels.columns import Ragged, join_texts
from packing.places import Places
from packing.tokenizer import Tokenizer


def open_prepare(
    config: Config, quality: Quality, near_dedup: NearDedup, tokenizer: Tokenizer, mask: MaskArrivals | None
) -> Prepare:
    """The stages of a configuration that are pure."""
    return Prepare(
        quality=quality,
        near_dedup=near_dedup,
        tokenizer=tokenizer,
        mask=mask,
        passages=config.dedup.passages.enabled,
        questions=open_questions(config),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """The pure work of the stages, by stage."""

    quality: Quality
    near_dedup: NearDedup
    tokenizer: Tokenizer
    passages: bool = False  # whether fingerprints of passages are wanted
    questions: Questions | None = None  # of evaluation sets
    mask: MaskArrivals | None = None

    def arrivals(self, arrivals: Arrivals) -> Arrivals:
        """Rows as everything else sees them: without personal data, where that is masked."""
        return arrivals if self.mask is None else self.mask.masked(arrivals)

    def all(self, documents: Documents) -> Prepared:
        """Everything about documents, before any of them is decided."""
        texts = documents.texts
        signatures_BU, has_words_B = self.near_dedup.sign(texts)
        return Prepared(
            keys=fingerprint(texts, documents.urls),
            measures=self.quality.measure(texts, documents.languages).beside(documents.numbers_BG),
            signatures_BU=signatures_BU,
            has_words_B=has_words_B,
            tokens=self.tokenizer.encode_batch(texts),
            fingerprints=passages.fingerprint(texts) if self.passages else None,
            contamination=None if self.questions is None else self.questions.find(texts),
        )

    def measure(self, batch: Batch, run: Run) -> Measures:
        """Languages and rules of the documents of a run that are left."""
        if run.prepared is not None:
            return run.prepared.measures.take(run.rows(batch))
        measures = self.quality.measure(batch.texts, batch.languages)
        return measures.beside(run.documents.numbers_BG[run.rows(batch)])

    def sign(self, batch: Batch, run: Run) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Signatures for near-duplicates, and which documents have any word: (signatures_BU, has_words_B)."""
        if run.prepared is not None:
            rows_B = run.rows(batch)
            return run.prepared.signatures_BU[rows_B], run.prepared.has_words_B[rows_B]
        return self.near_dedup.sign(batch.texts)

    def find_questions(self, batch: Batch, run: Run, questions: Questions) -> Contamination:
        """Questions of evaluation sets that documents hold."""
        if run.prepared is not None and run.prepared.contamination is not None:
            return run.prepared.contamination.take(run.rows(batch))
        return questions.find(batch.texts)

    def fingerprint(self, batch: Batch, run: Run) -> Fingerprints:
        """Fingerprints of passages."""
        if run.prepared is not None and run.prepared.fingerprints is not None:
            return run.prepared.fingerprints.take(run.rows(batch))
        return passages.fingerprint(batch.texts)

    def encode(self, batch: Batch, run: Run) -> Ragged[Any]:
        """Tokens."""
        if run.prepared is not None:
            return run.prepared.tokens.take(run.rows(batch))
        return self.tokenizer.encode_batch(batch.texts)

    def places(self, batch: Batch, run: Run) -> Places | None:
        """Where these tokens lie on a topic."""
        places = None if run.prepared is None else run.prepared.places
        return places and places.take(run.rows(batch))

    def compile(self) -> None:
        """Call every kernel once, so that the time of compiling is not counted against the first documents."""
        texts = join_texts(["a text", "ein Text für Ä"])
        self.quality.measure(texts, ("", ""))
        self.near_dedup.sign(texts)
        if self.passages:
            passages.fingerprint(texts)
        if self.questions is not None:
            self.questions.find(texts)
        self.tokenizer.encode_batch(texts)
        if self.mask is not None:
            self.mask.mask.texts(join_texts(["a@b.example"]))
