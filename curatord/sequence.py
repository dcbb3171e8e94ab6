"""PackedSequence: one training row, a few whole documents side by side in at most `context_length` tokens.

No padding, no mask and no positions are stored: all follow from `segment_lengths`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Bits of a segment's flags.
HEAD_PRESENT = 1  # the segment starts where its document starts
TAIL_PRESENT = 2  # the segment ends where its document ends
NO_LOSS = 4  # the trainer should not learn from this segment


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedSequence:
    """One row. T tokens in S segments; a segment is a document, or a piece of one longer than the context."""

    seq_no: int  # dense within a generation
    generation: int
    context_length: int  # tokens; at least T
    tokens_T: NDArray[np.uint32]
    segment_lengths_S: NDArray[np.uint32]  # tokens; their sum is T
    segment_offsets_S: NDArray[np.uint32]  # place of the segment's first token in its document
    segment_flags_S: NDArray[np.uint8]  # HEAD_PRESENT | TAIL_PRESENT | NO_LOSS
    doc_ids: tuple[str, ...]
    clusters_S: NDArray[np.int32]
    policy_versions_S: NDArray[np.int32]
    propensities_S: NDArray[np.float32]  # probability with which the document was admitted
