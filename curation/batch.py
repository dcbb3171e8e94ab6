"""Batch: documents on their way through the stages, as one byte buffer and columns.

Shape legend, used wherever a batch goes: B documents, N bytes of text, K hash permutations, R quality rules,
M models that score, T tokens, D embedding dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kernels.columns import Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Documents that still are in the running, in input order.

    Stages never change a batch: `keep` gives a smaller one over the same buffer.
    """

    ordinals_B: NDArray[np.int64]  # place in the input, counted over everything ever read
    doc_nos_B: NDArray[np.int64]  # the state's own dense number, given at the door
    ids: tuple[str, ...]
    sources: tuple[str, ...]  # where the user says it comes from; "" if unknown
    languages: tuple[str, ...]  # as declared by the input; "" if unknown
    texts: Texts  # exactly as received

    def __len__(self) -> int:
        return len(self.ids)

    def keep(self, mask_B: NDArray[np.bool_]) -> Batch:
        """The documents whose mask is set; the buffer is shared, not copied."""
        return self if mask_B.all() else self.take(np.flatnonzero(mask_B))

    def take(self, rows_B: NDArray[np.int64]) -> Batch:
        """The documents in these rows; costs what they are, not what the batch is."""
        rows = rows_B.tolist()
        return replace(
            self,
            ordinals_B=self.ordinals_B[rows_B],
            doc_nos_B=self.doc_nos_B[rows_B],
            ids=tuple(self.ids[i] for i in rows),
            sources=tuple(self.sources[i] for i in rows),
            languages=tuple(self.languages[i] for i in rows),
            texts=self.texts.take(rows_B),
        )

    def numbered(self, first: int) -> Batch:
        """The same documents, numbered from `first`."""
        return replace(self, doc_nos_B=np.arange(first, first + len(self)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Accepted documents of one tick (at most 512 input ordinals), tokenized, with the columns of the learning stages.

    What learns sees whole ticks only, so its arithmetic does not depend on how documents were batched.
    """

    doc_nos_B: NDArray[np.int64]
    keys_B: NDArray[np.uint64]  # hash of the document id: the source of randomness, never the position
    sources: tuple[str, ...]
    languages: tuple[str, ...]
    num_tokens_B: NDArray[np.int64]
    qualities_B: NDArray[np.float32]  # 0 (worst) to 1
    scores_BM: NDArray[np.float32]  # by models; NaN where unknown
    embeddings_BD: NDArray[np.float32]  # unit vectors
    clusters_B: NDArray[np.int32]  # stable cluster ids
    propensities_B: NDArray[np.float32]  # admission probability
    weights_B: NDArray[np.float32]  # what their losses are multiplied by
    policy_version: int  # counts the ticks that changed what the bandit believes

    def __len__(self) -> int:
        return len(self.doc_nos_B)

    def keep(self, mask_B: NDArray[np.bool_]) -> Tick:
        """The documents whose mask is set."""
        if mask_B.all():
            return self
        return replace(
            self,
            doc_nos_B=self.doc_nos_B[mask_B],
            keys_B=self.keys_B[mask_B],
            sources=tuple(source for source, kept in zip(self.sources, mask_B.tolist(), strict=True) if kept),
            languages=tuple(language for language, kept in zip(self.languages, mask_B.tolist(), strict=True) if kept),
            num_tokens_B=self.num_tokens_B[mask_B],
            qualities_B=self.qualities_B[mask_B],
            scores_BM=self.scores_BM[mask_B],
            embeddings_BD=self.embeddings_BD[mask_B],
            clusters_B=self.clusters_B[mask_B],
            propensities_B=self.propensities_B[mask_B],
            weights_B=self.weights_B[mask_B],
        )
