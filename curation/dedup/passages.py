"""Passages: parts of documents that earlier ones have word for word, as boilerplate, quotations and half copies do.

Near-duplicate removal compares whole documents. Here a document is its fingerprints (`kernels.passages`): every run of
GRAM_WORDS + WINDOW - 1 words that an earlier document has is found, shorter ones of GRAM_WORDS words by chance. What
was seen is told of each document as a share of its words, may be left without loss, and may reject it. The first
document that has a passage keeps it whole: fingerprints are looked up before those of the same document are taken.

Fingerprints of the documents that pass lie in two Bloom filters that take turns (`kernels.seen_passages`): memory does
not grow, and a passage that has not come for long is new again. A document that is rejected by a later stage, or not
sampled, keeps its place, as in the near-duplicate index.

*Facts* are the fingerprints that a run of documents took, by its first document, as long as a filter has them; the
filters are made of them again. *Taken back*: fingerprints that the document had brought, and none before it, are
lifted, so that the next document with the passage is its first. What later documents left out of the loss in between
stays out. Lifted ones are facts too, until a document brings them again, or no filter has them.

Shape legend: B documents, F fingerprints, L lifted ones.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from kernels.columns import Ragged, Texts, bounds_of
from kernels.passages import fingerprint_passages
from kernels.seen_passages import BLOCK_WORDS, BROUGHT, NOT_TAKEN, judge_documents, take_rows
from kernels.word_places import word_places
from ops.memory import lookup_table
from state.epoch import Epoch
from state.fact_table import FactOwner, FactTable, RowChange, Table
from state.facts import NOTHING, NUMBER, RAW, Facts, FactSource, Family, packed

GRAM_WORDS = 50
WINDOW = 32
SHARE = "seen_passages"  # the name of the share among what is measured of a document
DEFINITION = f"{GRAM_WORDS} words, window {WINDOW}"

FAMILY = Family("passages", "fingerprints that a run of documents took; those that were lifted")


class PassagesConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[dedup.passages]: parts of documents that earlier ones have word for word."""

    enabled: bool = False
    """Whether passages are looked for. Alone, it tells the share of a document's words that were seen."""
    mask: bool = False
    """Whether tokens of passages that were seen carry no loss: they are read, and not learned again."""
    max_share: Annotated[float, Meta(ge=0.0, le=1.0)] = 1.0
    """Share of its words above which a document is dropped; 1 drops none."""
    exempt_sources: tuple[str, ...] = ()
    """Sources whose repeats are meant, such as laws and licences: told of, neither dropped nor left without loss."""
    memory_mib: Annotated[int, Meta(ge=1, le=65_536)] = 256
    """Memory of the filters, MiB; one MiB holds 7,000 documents of 600 words. Another size forgets what was seen."""

    def __post_init__(self) -> None:
        if not self.enabled and (self.mask or self.max_share < 1):
            raise ValueError("`mask` and `max_share` want `enabled = true`")


class _Row(msgspec.Struct, frozen=True, array_like=True):
    """Fact: the fingerprints that documents took one after another."""

    counts: bytes  # i64, of each document
    hashes: bytes  # u64
    brought: bytes  # bool: no document before had it
    turn: int  # of the filters, before the first
    held: int  # by the filter in use


class _Totals(msgspec.Struct, frozen=True, array_like=True):
    """Fact: how far the filters are."""

    words: int  # of each filter
    turn: int
    held: int


_TOTALS: Facts[None, _Totals] = Facts(FAMILY, NOTHING, packed(_Totals), prefix=b"t")
_ROWS: Facts[int, _Row] = Facts(FAMILY, NUMBER, packed(_Row), prefix=b"d")
_LIFTED: Facts[int, bytes] = Facts(FAMILY, NUMBER, RAW, prefix=b"l")  # the turn in which it was lifted, as 8 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprints:
    """Of B documents."""

    of_B: Ragged[np.void]  # records of `FINGERPRINT`
    num_words_B: NDArray[np.int32]

    def take(self, rows_B: NDArray[Any]) -> Fingerprints:
        """Those of some documents."""
        return Fingerprints(of_B=self.of_B.take(rows_B), num_words_B=self.num_words_B[rows_B])


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPassages:
    """Parts of B documents that earlier ones have."""

    shares_B: NDArray[np.float32]
    rejected_B: NDArray[np.bool_]
    words: dict[int, NDArray[np.int64]]  # by row: runs [first, end) of words without loss


def fingerprint(texts: Texts) -> Fingerprints:
    """Fingerprints of documents. Pure."""
    of_B, num_words_B = fingerprint_passages(texts, gram_words=GRAM_WORDS, window=WINDOW)
    return Fingerprints(of_B=of_B, num_words_B=num_words_B)


def bytes_of_words(texts: Texts, b: int, words_R2: NDArray[np.int64]) -> NDArray[np.int64]:
    """Runs of words of a text as ranges of its bytes."""
    places_W2 = word_places(texts, b)
    ends_R = np.minimum(words_R2[:, 1], len(places_W2))
    inside_R = words_R2[:, 0] < ends_R
    found: NDArray[np.int64] = np.stack(
        (places_W2[words_R2[inside_R, 0], 0], places_W2[ends_R[inside_R] - 1, 1]), axis=1
    )
    return found


class Passages(FactOwner):
    """Passages so far. `committed` has the facts of before."""

    def __init__(self, config: PassagesConfig, committed: FactSource) -> None:
        self.config = config
        self._committed = committed
        words = (config.memory_mib << 20) // 16 if config.enabled else BLOCK_WORDS
        self._filters_2W: NDArray[np.uint64] = lookup_table((2, words), np.uint64)
        self._counts_2 = np.zeros(2, np.int64)  # turns, and fingerprints that the filter in use holds
        self._lifted = FactTable(_LIFTED)
        self._lifted_L: NDArray[np.uint64] | None = None  # sorted; None: to be made of the table
        self._is_lifted_L = np.zeros(0, np.bool_)
        self._rows = _Rows()

    @property
    def measured_names(self) -> tuple[str, ...]:
        """Names of the measures of every document."""
        return (SHARE,) if self.config.enabled else ()

    def tables(self) -> tuple[Table, ...]:
        """Fingerprints that documents took, and the lifted ones."""
        return (self._rows, self._lifted) if self.config.enabled else ()

    def judge(self, doc_nos_B: NDArray[np.int64], sources: Sequence[str], fingerprints: Fingerprints) -> SeenPassages:
        """Judge documents in their order; what those bring that are not rejected is known from then on."""
        config, of_B, num_words_B = self.config, fingerprints.of_B, fingerprints.num_words_B
        exempt_B = np.array([source in config.exempt_sources for source in sources], np.bool_)
        lifted_L, was_lifted_L = self._sorted(), self._is_lifted_L.copy()
        num_fingerprints = len(of_B.values_T)
        seen_F, fates_F = np.zeros(num_fingerprints, np.bool_), np.zeros(num_fingerprints, np.uint8)
        shares_B, limits_B = np.zeros(len(of_B), np.float32), np.where(exempt_B, 1.0, config.max_share)
        turn, held = self._counts_2.tolist()
        hashes_F, firsts_F = (np.ascontiguousarray(of_B.values_T[name]) for name in ("hash", "first"))
        judge_documents(
            *(hashes_F, firsts_F, of_B.bounds_B1, num_words_B, GRAM_WORDS, limits_B, self._filters_2W, self._counts_2),
            *(lifted_L, self._is_lifted_L, seen_F, fates_F, shares_B),
        )
        for h in lifted_L[was_lifted_L & ~self._is_lifted_L].tolist():
            del self._lifted[h]
        taken_F = fates_F != NOT_TAKEN
        counts_B = np.diff(np.concatenate(([0], np.cumsum(taken_F)))[of_B.bounds_B1])
        row = _Row(
            counts=counts_B.tobytes(),
            hashes=hashes_F[taken_F].tobytes(),
            brought=(fates_F[taken_F] == BROUGHT).tobytes(),
            turn=turn,
            held=held,
        )
        self._rows.add(doc_nos_B, row, self._totals())
        if self._counts_2[0] != turn:
            self._forget()
        rejected_B = shares_B > limits_B
        return SeenPassages(
            shares_B=shares_B,
            rejected_B=rejected_B,
            words=self._runs(of_B, seen_F, num_words_B, ~(exempt_B | rejected_B)) if config.mask else {},
        )

    def _sorted(self) -> NDArray[np.uint64]:
        """The lifted fingerprints; which of them still are is in `_is_lifted_L`."""
        if self._lifted_L is None:
            self._lifted_L = np.sort(np.fromiter(self._lifted.keys(), np.uint64, count=len(self._lifted)))
            self._is_lifted_L = np.ones(len(self._lifted_L), np.bool_)
        return self._lifted_L

    def _totals(self) -> _Totals:
        return _Totals(self._filters_2W.shape[1], *self._counts_2.tolist())

    def _runs(
        self,
        of_B: Ragged[np.void],
        seen_F: NDArray[np.bool_],
        num_words_B: NDArray[np.int32],
        masked_B: NDArray[np.bool_],
    ) -> dict[int, NDArray[np.int64]]:
        """Runs of words of the documents that have any and are to be masked."""
        documents_F = np.repeat(np.arange(len(of_B)), of_B.lengths())
        runs: dict[int, NDArray[np.int64]] = {}
        for b in np.unique(documents_F[seen_F]).tolist():
            if masked_B[b]:
                part = slice(of_B.bounds_B1[b], of_B.bounds_B1[b + 1])
                firsts_R = of_B.values_T["first"][part][seen_F[part]].astype(np.int64)
                runs[b] = np.stack((firsts_R, np.minimum(firsts_R + GRAM_WORDS, num_words_B[b])), axis=1)
        return runs

    def _forget(self) -> None:
        """No filter has what was taken two turns ago."""
        oldest = int(self._counts_2[0]) - 1
        self._rows.forget(oldest)
        for h in [h for h, turn in self._lifted.items() if int.from_bytes(turn, "big") < oldest]:
            del self._lifted[h]
        self._lifted_L = None

    def withdraw(self, doc_no: int, epoch: Epoch) -> None:
        """A document was taken back: what it brought is new again."""
        if not self.config.enabled:
            return
        for h in self._rows.brought_by(doc_no, self._committed, epoch):
            self._lifted[h] = int(self._counts_2[0]).to_bytes(8, "big")
            self._lifted_L = None

    def restored(self, committed: FactSource) -> None:
        """Make the filters of what documents took; of filters of another size all is forgotten."""
        totals = _TOTALS.get(committed, None) if self.config.enabled else None
        if totals is None:
            return
        is_kept = totals.words == self._filters_2W.shape[1]
        for first, row in _ROWS.items(committed):
            self._rows.know(first, row.turn)
            if is_kept:
                counts_2 = np.array([row.turn, row.held])
                hashes_F, counts_B = np.frombuffer(row.hashes, np.uint64), np.frombuffer(row.counts, np.int64)
                take_rows(hashes_F, counts_B, self._filters_2W, totals.turn, counts_2)
        if is_kept:
            self._counts_2[:] = totals.turn, totals.held
        else:
            self._rows.forget_all()
            self._lifted.replace({})


class _Rows:
    """The rows of what documents took, which stay in the store; a table for commit and restore."""

    family = FAMILY

    def __init__(self) -> None:
        self._firsts: list[int] = []  # first document of each row, ascending
        self._turns: list[int] = []  # before it
        self._changes: dict[bytes, bytes | None] = {}

    def add(self, doc_nos_B: NDArray[np.int64], row: _Row, totals: _Totals) -> None:
        """Note the row of documents of one run; numbers between theirs took nothing."""
        if not len(row.hashes):
            return
        first = int(doc_nos_B[0])
        counts = np.zeros(int(doc_nos_B[-1]) - first + 1, np.int64)
        counts[doc_nos_B - first] = np.frombuffer(row.counts, np.int64)
        self.know(first, row.turn)
        self._changes[_ROWS.row(first)] = _ROWS.value.encode(msgspec.structs.replace(row, counts=counts.tobytes()))
        self._changes[_TOTALS.row(None)] = _TOTALS.value.encode(totals)

    def know(self, first: int, turn: int) -> None:
        """The store has a row that begins with this document, in this turn."""
        self._firsts.append(first)
        self._turns.append(turn)

    def forget(self, oldest: int) -> None:
        """Drop the rows of which all was taken before this turn."""
        # A row ends, at the latest, in the turn in which the next begins.
        self._drop(max(0, bisect_left(self._turns, oldest) - 1))

    def forget_all(self) -> None:
        """Drop all rows."""
        self._drop(len(self._firsts))

    def _drop(self, num_gone: int) -> None:
        for first in self._firsts[:num_gone]:
            self._changes[_ROWS.row(first)] = None
        del self._firsts[:num_gone], self._turns[:num_gone]

    def brought_by(self, doc_no: int, committed: FactSource, epoch: Epoch) -> list[int]:
        """Fingerprints that a document brought; none where its row is forgotten, or it took nothing."""
        place = bisect_right(self._firsts, doc_no) - 1
        if place < 0:
            return []
        first, key = self._firsts[place], _ROWS.row(self._firsts[place])
        encoded = self._changes.get(key)
        row = _ROWS.value.decode(encoded) if encoded else _ROWS.opened(epoch, first) or _ROWS.get(committed, first)
        counts = np.frombuffer(row.counts, np.int64) if row is not None else np.zeros(0, np.int64)
        if row is None or doc_no - first >= len(counts):
            return []
        bounds = bounds_of(counts)
        part = slice(int(bounds[doc_no - first]), int(bounds[doc_no - first + 1]))
        brought = np.frombuffer(row.brought, np.bool_)[part]
        found: list[int] = np.frombuffer(row.hashes, np.uint64)[part][brought].tolist()
        return found

    def take_changes(self) -> list[RowChange]:
        """Changes since the last call."""
        changes = list(self._changes.items())
        self._changes.clear()
        return changes

    def load(self, committed: FactSource) -> None:
        """Know nothing; `Passages.restored` goes through the rows."""
        self._drop(len(self._firsts))
        self._changes.clear()
