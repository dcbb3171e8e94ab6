"""Near-duplicate removal: MinHash signatures, LSH bands, and every match verified. The first seen survives.

A document is dropped if a survivor before it has an estimated similarity of at least `min_similarity`; otherwise it
becomes a survivor itself. A dropped document is never matched against, so duplicates do not chain: what is dropped
resembles a document that is still there. Dropping a survivor (a retraction) frees its place, and the next copy is new.

Signing is a pure function of the text. Matching is strictly in order, document i sees document i - 1 of its own batch,
so results do not depend on how documents were batched.

A. Broder: On the resemblance and containment of documents (1997). P. Li, A. C. König: b-bit minwise hashing (2010).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from curation.kernels import minhash
from curation.kernels.lsh import SignatureIndex
from curation.removal_guard import RemovalGuard

IDENTITY_OPTIONS = ("num_permutations", "signature_bits", "num_bands", "band_rows", "shingle_words")

# Signatures are compared 64 bytes at a time.
BLOCK_BITS = 512


class NearDedupConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[dedup.near]: documents that resemble an earlier one are dropped."""

    enabled: bool = True
    """Whether near-duplicates are looked for at all."""
    num_permutations: Annotated[int, Meta(ge=64, le=256, multiple_of=64)] = 256
    """Hash permutations of a signature; the estimate's error falls with their root. Part of identity."""
    signature_bits: Literal[4, 8] = 4
    """Bits kept of every permutation; a document takes num_permutations times so many in memory. Part of identity."""
    num_bands: Annotated[int, Meta(ge=1, le=64)] = 16
    """Bands of the signature; documents that agree in a whole band are compared. Part of identity."""
    band_rows: Annotated[int, Meta(ge=2, le=32, multiple_of=2)] = 8
    """Permutations of a band. Part of identity."""
    shingle_words: Annotated[int, Meta(ge=1, le=32)] = 5
    """Consecutive words of a shingle (letters with their marks in scripts without spaces). Part of identity."""
    min_similarity: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.76
    """Estimated Jaccard similarity from which a document counts as a near-duplicate. Slightly below the similarity
    aimed at (0.8), since estimates scatter around the truth."""
    guard_window_documents: Annotated[int, Meta(ge=10)] = 1_000
    """Documents of one source over which its removal rate is taken."""
    guard_max_excess: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.25
    """Share of a source's documents removed above its usual share from which an event is raised."""

    def __post_init__(self) -> None:
        if self.num_bands * self.band_rows > self.num_permutations:
            raise ValueError(
                f"num_bands x band_rows = {self.num_bands} x {self.band_rows} is more than num_permutations = "
                f"{self.num_permutations}; take fewer bands or more permutations"
            )
        if self.num_permutations * self.signature_bits % BLOCK_BITS:
            raise ValueError(
                f"num_permutations x signature_bits = {self.num_permutations} x {self.signature_bits} is no multiple "
                f"of {BLOCK_BITS} bits; take signature_bits = 8"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """What was found for each document of a batch."""

    doc_nos_B: NDArray[np.int64]  # the most similar survivor before it, the oldest of equals; -1 if none is near
    similarities_B: NDArray[np.float32]  # estimated Jaccard similarity to it; 0 if none is near


class NearDedup:
    """Survivors so far, by signature."""

    def __init__(self, config: NearDedupConfig) -> None:
        self.config = config
        self.guard = RemovalGuard(window_documents=config.guard_window_documents, max_excess=config.guard_max_excess)
        self._index = SignatureIndex(
            num_bytes=config.num_permutations * config.signature_bits // 8,
            bits=config.signature_bits,
            num_bands=config.num_bands,
            band_bytes=config.band_rows * config.signature_bits // 8,
        )
        # The share of values that are equal by chance, in the bits that are kept of them.
        self._chance = 1 / (1 << config.signature_bits)
        equal_share = config.min_similarity * (1 - self._chance) + self._chance
        self._min_equal = math.ceil(equal_share * config.num_permutations - 1e-9)

    def __len__(self) -> int:
        """Number of survivors."""
        return len(self._index)

    def num_bytes(self) -> int:
        """Memory of the index in bytes."""
        return self._index.num_bytes()

    def sign(
        self, buffer_N: NDArray[np.uint8], starts_B: NDArray[np.int64], ends_B: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Packed signatures of UTF-8 texts in a padded buffer, and which have any word: (signatures_BP, has_words_B).

        Pure, and without the interpreter lock: slices of one batch may be signed by several threads at once.
        """
        signatures_BK, num_shingles_B = minhash.sign(
            buffer_N,
            starts_B,
            ends_B,
            num_permutations=self.config.num_permutations,
            shingle_words=self.config.shingle_words,
        )
        return minhash.pack(signatures_BK, self.config.signature_bits), num_shingles_B > 0

    def match(
        self, doc_nos_B: NDArray[np.int64], signatures_BP: NDArray[np.uint8], has_words_B: NDArray[np.bool_]
    ) -> Matches:
        """Match documents in order against the survivors before them; those without a match become survivors.

        A document without words matches nothing and nothing matches it. Raises ValueError if `doc_nos_B` does not go
        on increasing from the last survivor's.
        """
        matches_B, equal_B = self._index.match(doc_nos_B, signatures_BP, has_words_B, self._min_equal)
        shares_B = equal_B / self.config.num_permutations
        similarities_B = np.maximum((shares_B - self._chance) / (1 - self._chance), 0).astype(np.float32)
        return Matches(doc_nos_B=matches_B, similarities_B=similarities_B)

    def drop(self, doc_no: int) -> bool:
        """Free a survivor's place, so that later copies are new again; whether it was a survivor."""
        return self._index.drop(doc_no)

    def apply(self, doc_no: int, signature: bytes | None) -> None:
        """Put one fact back: a survivor's packed signature, or None for one that was dropped."""
        if signature is None:
            self._index.drop(doc_no)
        else:
            self.restore(np.array([doc_no]), np.frombuffer(signature, np.uint8)[None])

    def restore(self, doc_nos_B: NDArray[np.int64], signatures_BP: NDArray[np.uint8]) -> None:
        """Put many survivors back, in increasing order of document numbers."""
        num_bytes = self.config.num_permutations * self.config.signature_bits // 8
        if signatures_BP.shape != (len(doc_nos_B), num_bytes):
            raise ValueError(
                f"signatures of shape {signatures_BP.shape} for {len(doc_nos_B)} documents; "
                f"this index holds {num_bytes} bytes a document"
            )
        self._index.insert(doc_nos_B, signatures_BP)
