"""Prepare: everything about documents that hangs on each of them alone. Pure, and spread over threads.

Where documents are prepared in the loop, a stage asks for its numbers when the stages before have dropped what they
drop: exact duplicates are never measured, and near-duplicates never tokenized. The numbers are the same either way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.batch import Batch
from curation.dedup.near import NearDedup
from curation.quality.judge import Measures, Quality, join_measures
from daemon.stages.workers import Workers
from kernels.columns import Ragged, Texts, bounds_of, join_texts
from packing.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """The pure work of the stages, by stage."""

    quality: Quality
    near_dedup: NearDedup
    tokenizer: Tokenizer
    workers: Workers

    def measure(self, batch: Batch) -> Measures:
        """Languages and rules."""
        parts = self.workers.map(
            lambda part: self.quality.measure(batch.texts.take(part), batch.languages[part]), len(batch)
        )
        return join_measures(parts)

    def sign(self, texts: Texts) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Signatures for near-duplicates, and which documents have any word: (signatures_BP, has_words_B)."""
        parts = self.workers.map(lambda part: self.near_dedup.sign(texts.take(part)), len(texts))
        return np.concatenate([signatures for signatures, _ in parts]), np.concatenate([has for _, has in parts])

    def encode(self, texts: Texts) -> Ragged[Any]:
        """Tokens."""
        parts = self.workers.map(lambda part: self.tokenizer.encode_batch(texts.take(part)), len(texts))
        lengths_B = np.concatenate([part.lengths() for part in parts])
        return Ragged(np.concatenate([part.values_T for part in parts]), bounds_of(lengths_B))

    def compile(self) -> None:
        """Call every kernel once, so that the time of compiling is not counted against the first documents."""
        texts = join_texts(["a text", "ein Text für Ä"])
        self.quality.measure(texts, ("", ""))
        self.near_dedup.sign(texts)
        self.tokenizer.encode_batch(texts)
