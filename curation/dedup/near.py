"""Near-duplicate removal: MinHash bands find candidates, sketches decide. The first seen survives.

A document is dropped if a survivor before it has an estimated similarity of at least `min_similarity`; otherwise it
becomes a survivor itself. A dropped document is never matched against, so duplicates do not chain: what is dropped
resembles a document that is still there. Dropping a survivor (a retraction) frees its place, and the next copy is new.

Many documents may share a template and so be candidates of each other by the million. Work a document is bounded
(`kernels.lsh`), and so is the number of estimates of which one may be wrong.

Signing is a pure function of the text. Matching is strictly in order, document i sees document i - 1 of its own batch,
so results do not depend on how documents were batched.

A. Broder: On the resemblance and containment of documents (1997). P. Li, A. Owen, C.-H. Zhang: One permutation hashing
(2012).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from curation.dedup.removal_guard import RemovalGuard
from curation.dedup.survivors import Survivors
from kernels import minhash
from kernels.columns import Texts
from kernels.lsh import Documents
from kernels.minhash import count_tags
from kernels.sketch import BINS_A_BYTE

IDENTITY_OPTIONS = ("sketch_bins", "num_bands", "band_rows", "shingle_words")


class NearDedupConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[dedup.near]: documents that resemble an earlier one are dropped."""

    enabled: bool = True
    """Whether near-duplicates are looked for at all."""
    sketch_bins: Literal[256, 512, 1024, 2048, 4096] = 1024
    """Bins of a sketch; the error of a similarity falls with their root, memory is two bits each. Part of identity."""
    num_bands: Annotated[int, Meta(ge=1, le=64)] = 25
    """Bands under which a document is found; documents that agree in a whole one are compared. Part of identity."""
    band_rows: Annotated[int, Meta(ge=1, le=32)] = 4
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """The match of each document of a batch."""

    doc_nos_B: NDArray[np.int64]  # the most similar survivor before it, the oldest of equals; -1 if none is near
    similarities_B: NDArray[np.float32]  # estimated Jaccard similarity to it; 0 if none is near
    facts_BP: NDArray[np.uint8]  # of a new survivor: its signature with the tags under which it is found, and a bit of
    # each band, for `restore`
    work_B: NDArray[np.int64]  # entries of the table and sketches that were looked at


class NearDedup:
    """Survivors so far, by signature."""

    def __init__(self, config: NearDedupConfig, *, forget_after: int = 0) -> None:
        self.config = config
        self.guard = RemovalGuard(window_documents=config.guard_window_documents, max_excess=config.guard_max_excess)
        self.survivors = Survivors(
            sketch_bytes=config.sketch_bins // BINS_A_BYTE, num_bands=config.num_bands, forget_after=forget_after
        )

    def __len__(self) -> int:
        """Number of survivors."""
        return len(self.survivors)

    def num_bytes(self) -> int:
        """Memory of the index in bytes."""
        return self.survivors.num_bytes()

    def sign(self, texts: Texts) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Signatures of UTF-8 texts in a padded buffer, and which have any word: (signatures_BU, has_words_B).

        Pure, and without the interpreter lock: slices of one batch may be signed by several threads at once.
        """
        config = self.config
        sketches_BQ, tags_BT, symbols_B, has_words_B = minhash.sign(
            texts,
            num_bands=config.num_bands,
            band_rows=config.band_rows,
            sketch_bins=config.sketch_bins,
            shingle_words=config.shingle_words,
        )
        return join_signatures(sketches_BQ, tags_BT, symbols_B), has_words_B

    def match(
        self, doc_nos_B: NDArray[np.int64], signatures_BU: NDArray[np.uint8], has_words_B: NDArray[np.bool_]
    ) -> Matches:
        """Match documents in order against the survivors before them; those without a match become survivors.

        A document without words matches nothing and nothing matches it. Raises ValueError if `doc_nos_B` does not go
        on increasing from the last survivor's.
        """
        sketches_BQ, tags_BT, symbols_B = self._split(signatures_BU)
        documents = Documents(
            np.ascontiguousarray(doc_nos_B),
            np.ascontiguousarray(sketches_BQ),
            np.ascontiguousarray(tags_BT),
            symbols_B,
            has_words_B,
        )
        found = self.survivors.match(documents, self.config.min_similarity)
        return Matches(
            doc_nos_B=found.doc_nos_B,
            similarities_B=found.similarities_B,
            facts_BP=np.concatenate(
                (join_signatures(sketches_BQ, found.tags_BR, symbols_B), np.packbits(found.bands_BT, axis=1)), axis=1
            ),
            work_B=found.work_B,
        )

    def _split(
        self, signatures_BU: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.uint32]]:
        """Sketches, tags and symbols."""
        num_bytes = self.config.sketch_bins // BINS_A_BYTE
        words_BT = np.ascontiguousarray(signatures_BU[:, num_bytes:]).view(np.uint32)
        return signatures_BU[:, :num_bytes], words_BT[:, :-1], np.ascontiguousarray(words_BT[:, -1])

    def drop(self, doc_no: int) -> bool:
        """Free a survivor's place, so that later copies are new again; whether it was a survivor."""
        return self.survivors.drop(doc_no)

    def restore(self, doc_nos_B: NDArray[np.int64], signatures_BP: NDArray[np.uint8]) -> None:
        """Put many survivors back, in increasing order of document numbers.

        Facts of before have no bits of bands; theirs count as the first, which they are but for those of a template.
        """
        config = self.config
        num_tags = count_tags(config.num_bands, config.band_rows)
        num_bytes = config.sketch_bins // BINS_A_BYTE + 4 * (config.num_bands + 1)
        with_bits = num_bytes + -(-num_tags // 8)
        if signatures_BP.shape not in ((len(doc_nos_B), num_bytes), (len(doc_nos_B), with_bits)):
            raise ValueError(
                f"signatures of shape {signatures_BP.shape} for {len(doc_nos_B)} documents; "
                f"this index holds {with_bits} bytes a document"
            )
        sketches_BQ, tags_BR, symbols_B = self._split(signatures_BP[:, :num_bytes])
        bands_BR = np.tile(np.arange(config.num_bands), (len(doc_nos_B), 1))
        if signatures_BP.shape[1] == with_bits:
            bands_BT = np.unpackbits(signatures_BP[:, num_bytes:], axis=1, count=num_tags)
            bands_BR[tags_BR > 0] = np.nonzero(bands_BT)[1]
        self.survivors.insert(doc_nos_B, sketches_BQ, tags_BR, bands_BR, symbols_B)


def join_signatures(
    sketches_BQ: NDArray[np.uint8], tags_BT: NDArray[np.uint32], symbols_B: NDArray[np.uint32]
) -> NDArray[np.uint8]:
    """The packed signatures: sketch, tags and symbols of a document side by side."""
    words_BT = np.concatenate((tags_BT, symbols_B[:, None]), axis=1)
    return np.concatenate((sketches_BQ, words_BT.view(np.uint8)), axis=1)
