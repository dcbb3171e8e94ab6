"""The section [packing]."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

# A piece waits at most this many times the pool's size, unless the configuration says otherwise.
_MAX_WAIT_POOLS = 8
# Rows' worth of documents that make a pool of related documents: more of them make no row much more coherent.
_POOL_ROWS = 400
# Tokens of a document of the web, as the size of the pool takes it.
_DOCUMENT_TOKENS = 1000
_LEAST_POOL, _LARGEST_POOL = 1000, 16_000
_BEST_FIT_ROUND = 1000

# A block is a file, whose lists have offsets of 32 bits.
MAX_BLOCK_TOKENS = 1 << 31


class PackingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section [packing]."""

    context_length: Annotated[int, msgspec.Meta(ge=256, le=1_048_576)] = 4096
    """Tokens of a training sequence. May change when nothing is held; the next row then begins a generation."""
    mode: Literal["sculpt", "best_fit"] = "sculpt"
    """What rows are made of: "sculpt" puts related documents together, "best_fit" only minds the padding."""
    pool_documents: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None
    """Documents that wait in the pool (sculpt), or make up a round (best_fit), at half a kilobyte and their tokens
    each; unset: 400 for each 1,000 tokens of context_length, from 1,000 to 16,000 (sculpt), or 1,000 (best_fit)."""
    max_wait_arrivals: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Longest wait of a document, counted in documents that arrive after it; unset: 8 times the pool."""
    alpha: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    """Weight of relatedness: the cosine of a document with the sum of its row."""
    beta: Annotated[float, msgspec.Meta(ge=0)] = 0.5
    """Weight of fit: a document's share of the room that its row has left."""
    continuation_penalty: Annotated[float, msgspec.Meta(ge=0)] = 0.2
    """What the tail of a split document loses. The more, the more often it opens a row, with nothing foreign before."""
    closing_bonus: Annotated[float, msgspec.Meta(ge=0)] = 0.15
    """Bonus for a document that (nearly) fills its row. The more, the less padding, and the less related the rows."""
    max_cosine: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """Cosine with the sum of its row above which a document is taken last, so that rows do not repeat themselves;
    unset: the more related, the better."""
    shuffle_block_rows: Annotated[int, msgspec.Meta(ge=1)] = 1024
    """Rows that are shuffled together, and held until they are complete; 1 keeps the order of closing."""
    batch_quantum: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Sequences that are given out together or not at all."""

    def __post_init__(self) -> None:
        if self.max_wait < 2 * self.pool_size:
            pool = f"packing.pool_documents = {self.pool_size}{' (for it is unset)' * (self.pool_documents is None)}"
            raise ValueError(
                f"packing.max_wait_arrivals = {self.max_wait_arrivals} is less than twice {pool}, so documents could "
                "not wait for a row that suits them: raise it, shrink the pool, or leave it unset"
            )
        if self.context_length * self.shuffle_block_rows >= MAX_BLOCK_TOKENS:
            raise ValueError(
                f"packing.shuffle_block_rows = {self.shuffle_block_rows} rows of {self.context_length} tokens are more "
                f"than the {MAX_BLOCK_TOKENS} that a file can hold: lower one of them"
            )
        if self.mode == "sculpt" and self.alpha == self.beta == 0:
            raise ValueError(
                "packing.alpha and packing.beta are both 0, so nothing tells documents apart: raise one of them"
            )

    @property
    def pool_size(self) -> int:
        """Documents that wait in the pool, or make up a round."""
        if self.pool_documents is not None:
            return self.pool_documents
        if self.mode == "best_fit":
            return _BEST_FIT_ROUND
        return min(max(_POOL_ROWS * self.context_length // _DOCUMENT_TOKENS, _LEAST_POOL), _LARGEST_POOL)

    @property
    def max_wait(self) -> int:
        """Longest wait in arrivals."""
        if self.max_wait_arrivals is None:
            return _MAX_WAIT_POOLS * self.pool_size
        return self.max_wait_arrivals
