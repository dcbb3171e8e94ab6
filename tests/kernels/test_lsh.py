"""The index against a plain search over all survivors."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from curation.dedup.survivors import Survivors
from kernels import lsh
from kernels.sketch import compare

MIN_SIMILARITY = 0.76
NUM_BANDS = 12
NUM_TAGS = 20
SHELVES = 16  # of 12 bands
SKETCH_BYTES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Sketches and tags of documents, numbered from `first`."""

    sketches_BQ: NDArray[np.uint8]
    tags_BT: NDArray[np.uint32]
    symbols_B: NDArray[np.uint32]
    first: int = 0

    def __len__(self) -> int:
        return len(self.tags_BT)

    def take(self, first: int, end: int) -> Documents:
        rows = slice(first, end)
        return Documents(
            sketches_BQ=self.sketches_BQ[rows],
            tags_BT=self.tags_BT[rows],
            symbols_B=self.symbols_B[rows],
            first=self.first + first,
        )

    def columns(self) -> tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.uint32]]:
        return self.sketches_BQ, self.tags_BT, self.symbols_B


def families(seed: int, count: int, num_tags: int = 1 << 32) -> Documents:
    """Documents of which many resemble an earlier one to every degree; tags of few values make full buckets."""
    rng = np.random.default_rng(seed)
    sketches_BQ = rng.integers(0, 256, (count, SKETCH_BYTES), dtype=np.uint8)
    tags_BT = rng.integers(1, num_tags, (count, NUM_TAGS), dtype=np.uint32) * np.uint32(0x9E3779B1)
    for row in range(1, count):
        if rng.random() < 0.7:
            earlier = rng.integers(max(0, row - 40), row)
            degree = rng.choice([0.3, 0.6, 0.7, 0.8, 0.85, 1.0])
            copied_Q, copied_T = rng.random(SKETCH_BYTES) < degree, rng.random(NUM_TAGS) < degree**5
            sketches_BQ[row, copied_Q] = sketches_BQ[earlier, copied_Q]
            tags_BT[row, copied_T] = tags_BT[earlier, copied_T]
    symbols_B = rng.choice(np.array([0, 0, 0, 2, 3, 4, 5], np.uint32), count)
    return Documents(sketches_BQ=sketches_BQ, tags_BT=tags_BT, symbols_B=symbols_B)


Tag = tuple[int, int]  # a band and the tag in it
Result = tuple[int, float, list[Tag]]


def shelved(tag: Tag) -> Tag:
    """A tag where it stands."""
    return tag[0] % SHELVES, tag[1]


def plain_search(documents: Documents, dropped: dict[int, int] | None = None) -> list[Result]:
    """(match, similarity, tags kept) of every document; `dropped`: the row before which a document is dropped."""
    buckets: defaultdict[tuple[int, int], list[int]] = defaultdict(list)  # living survivors by shelf and tag
    results = []
    for row in range(len(documents)):
        if dropped and row in dropped:
            for bucket in buckets.values():
                bucket[:] = [other for other in bucket if other != dropped[row]]
        tags: list[Tag] = []
        for tag in enumerate(documents.tags_BT[row].tolist()):
            if sum(len(buckets[shelved(other)]) < lsh.BUCKET for other in tags) < NUM_BANDS:
                tags.append(tag)
        candidates: set[int] = set()
        taken = 0
        for bucket in sorted((buckets[shelved(tag)] for tag in tags if buckets[shelved(tag)]), key=len):
            taken += len(bucket)
            if taken > lsh.BUDGET:
                break
            candidates.update(bucket)
        best, best_similarity = -1, 0.0
        for other in sorted(candidates):
            above, below = compare(documents.sketches_BQ[row], 0, documents.sketches_BQ[other], 0, SKETCH_BYTES, 0.0)
            a, b = documents.symbols_B[row], documents.symbols_B[other]
            if (a % 2 or b % 2) and a // 2 != b // 2:
                continue
            if above >= MIN_SIMILARITY * below and above / below > best_similarity:
                best, best_similarity = other, above / below
        kept: list[Tag] = []
        for tag in tags:
            if best < 0 and len(buckets[shelved(tag)]) < lsh.BUCKET:
                buckets[shelved(tag)].append(row)
                kept.append(tag)
        results.append((best, pytest.approx(best_similarity), kept))
    return results


def bands_of(found: lsh.Found) -> list[list[int]]:
    """The bands of the tags under which new survivors are found, and then 0, as `Survivors.insert` takes them."""
    return [
        [*bands, *[0] * (found.tags_BR.shape[1] - len(bands))]
        for bands in (np.flatnonzero(bands_T).tolist() for bands_T in found.bands_BT)
    ]


def search_in_batches(
    index: Survivors, documents: Documents, *, batch: int, dropped: dict[int, int] | None = None
) -> list[Result]:
    results: list[Result] = []
    cuts = sorted({*range(0, len(documents), batch), *(dropped or {}), len(documents)})
    for first, end in itertools.pairwise(cuts):
        if dropped and first in dropped:
            index.drop(dropped[first])
        part = documents.take(first, end)
        doc_nos_B = np.arange(part.first, part.first + len(part))
        found = match(index, doc_nos_B, *part.columns())
        kept = [
            list(zip(np.flatnonzero(bands_T).tolist(), tags_R[tags_R > 0].tolist(), strict=True))
            for bands_T, tags_R in zip(found.bands_BT, found.tags_BR, strict=True)
        ]
        results += zip(found.doc_nos_B.tolist(), found.similarities_B.tolist(), kept, strict=True)
    return results


def match(
    index: Survivors,
    doc_nos_B: NDArray[np.int64],
    sketches_BQ: NDArray[np.uint8],
    tags_BT: NDArray[np.uint32],
    symbols_B: NDArray[np.uint32],
    eligible_B: NDArray[np.bool_] | None = None,
) -> lsh.Found:
    if eligible_B is None:
        eligible_B = np.ones(len(doc_nos_B), np.bool_)
    return index.match(lsh.Documents(doc_nos_B, sketches_BQ, tags_BT, symbols_B, eligible_B), MIN_SIMILARITY)


def new_index() -> Survivors:
    return Survivors(sketch_bytes=SKETCH_BYTES, num_bands=NUM_BANDS)


@pytest.mark.parametrize("num_tags", [10, 3000, 1 << 32])
@pytest.mark.parametrize(("bucket", "budget"), [(32, 64), (4, 10)])
def test_matches_are_those_of_a_search_over_all_survivors(
    num_tags: int, bucket: int, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lsh, "BUCKET", bucket)
    monkeypatch.setattr(lsh, "BUDGET", budget)
    documents = families(3, 450, num_tags)
    dropped = {200: 0, 300: 150, 301: 299, 430: 7, **{row: row - 200 for row in range(350, 420)}}
    expected = plain_search(documents, dropped)
    for batch in (1, 7, 1000):
        assert search_in_batches(new_index(), documents, batch=batch, dropped=dropped) == expected
    assert sum(match >= 0 for match, _, _ in expected) > (50 if num_tags > 10 else 0)
    assert any(band >= NUM_BANDS for _, _, kept in expected for band, _ in kept) or num_tags > 10


def test_matches_do_not_depend_on_batches_while_the_table_grows_and_gaps_close() -> None:
    documents = families(4, 3000, 100_000)
    dropped = {row: row - 5 for row in range(100, 2500, 3)}
    results = []
    for batch in (1000, 3000, 17):
        index = new_index()
        found = search_in_batches(index, documents, batch=batch, dropped=dropped)
        assert len(index) == sum(match < 0 for match, _, _ in found) - sum(
            found[row][0] < 0 for row in dropped.values()
        )
        assert index.num_slots < sum(match < 0 for match, _, _ in found)  # gaps were closed
        results.append(found)
    assert results[0] == results[1] == results[2]


def test_a_dropped_document_makes_room_for_its_next_copy() -> None:
    index = new_index()
    one = families(1, 1)
    columns = (column.repeat(4, axis=0) for column in one.columns())
    copies = Documents(**dict(zip(("sketches_BQ", "tags_BT", "symbols_B"), columns, strict=True)), first=3)
    assert [match for match, _, _ in search_in_batches(index, copies.take(0, 2), batch=9)] == [-1, 3]
    assert index.drop(3)
    assert not index.drop(3)
    assert not index.drop(4)
    assert len(index) == 0
    assert [match for match, _, _ in search_in_batches(index, copies.take(2, 4), batch=9)] == [-1, 5]


def test_documents_that_are_not_eligible_neither_match_nor_are_matched() -> None:
    index = new_index()
    one = families(1, 1)
    sketches_BQ, tags_BT, symbols_B = (column.repeat(4, axis=0) for column in one.columns())
    found = match(index, np.arange(4), sketches_BQ, tags_BT, symbols_B, np.array([False, True, False, True]))
    assert found.doc_nos_B.tolist() == [-1, -1, -1, 1]
    assert len(index) == 1


def test_document_numbers_must_increase() -> None:
    index = new_index()
    two = families(1, 2)
    columns = two.sketches_BQ, two.tags_BT, np.zeros_like(two.tags_BT), two.symbols_B
    index.insert(np.array([0, 4]), *columns)
    index.drop(4)
    for doc_nos in ([4, 5], [6, 6], [9, 7]):
        with pytest.raises(ValueError, match="must increase"):
            index.insert(np.array(doc_nos), *columns)


@pytest.mark.parametrize("num_tags", [15, 1 << 32])
def test_restored_survivors_match_like_the_first_ones(num_tags: int) -> None:
    documents = families(9, 3000, num_tags)
    index, restored = new_index(), new_index()
    rows, later_rows = np.arange(1500), np.arange(1500, 3000)
    found = match(index, rows, *documents.take(0, 1500).columns())
    gone = np.flatnonzero(found.doc_nos_B < 0)[7::9]
    for doc_no in gone.tolist():
        assert index.drop(doc_no)
    kept = np.setdiff1d(np.flatnonzero(found.doc_nos_B < 0), gone)
    bands_BR = np.array(bands_of(found))[kept]
    assert (bands_BR >= NUM_BANDS).any() == (num_tags == 15)  # spare ones
    columns = documents.sketches_BQ[kept], found.tags_BR[kept], bands_BR, documents.symbols_B[kept]
    restored.insert(kept, *columns)
    assert len(restored) == len(index)
    later = [match(each, later_rows, *documents.take(1500, 3000).columns()) for each in (index, restored)]
    for name in ("doc_nos_B", "similarities_B", "tags_BR", "bands_BT"):
        assert getattr(later[0], name).tolist() == getattr(later[1], name).tolist()


def test_tags_of_different_bands_that_are_alike_by_chance_make_no_candidates() -> None:
    index, one = new_index(), families(1, 1)
    turned = Documents(
        sketches_BQ=one.sketches_BQ.repeat(2, axis=0),
        tags_BT=np.stack((one.tags_BT[0], np.roll(one.tags_BT[0], 5))),
        symbols_B=np.zeros(2, np.uint32),
    )
    assert match(index, np.arange(2), *turned.columns()).doc_nos_B.tolist() == [-1, -1]
    assert match(index, np.array([2]), *turned.take(1, 2).columns()).doc_nos_B.tolist() == [1]


def test_work_is_bounded_though_every_document_shares_tags_with_all() -> None:
    rng = np.random.default_rng(5)
    index = Survivors(sketch_bytes=SKETCH_BYTES, num_bands=NUM_BANDS)
    template_T = rng.integers(1, 1 << 32, NUM_TAGS, dtype=np.uint32)
    most = []
    for first in range(0, 40_000, 10_000):
        sketches_BQ = rng.integers(0, 256, (10_000, SKETCH_BYTES), dtype=np.uint8)
        tags_BT = rng.integers(1, 1 << 32, (10_000, NUM_TAGS), dtype=np.uint32)
        tags_BT = np.where(rng.random(tags_BT.shape) < 0.5, template_T, tags_BT)
        doc_nos_B, symbols_B = np.arange(first, first + 10_000), np.zeros(10_000, np.uint32)
        found = match(index, doc_nos_B, sketches_BQ, tags_BT, symbols_B)
        assert (found.doc_nos_B < 0).all()
        most.append(found.work_B.max())
    # Entries of other buckets that stand between are few, at the loads of the table.
    assert max(most) < 2 * NUM_TAGS * lsh.BUCKET + lsh.BUDGET
    assert most[-1] < 1.5 * most[0]


def test_memory_stays_below_640_bytes_a_document() -> None:
    rng = np.random.default_rng(0)
    index = Survivors(sketch_bytes=256, num_bands=25)
    for first in range(0, 150_000, 10_000):
        sketches_BQ = rng.integers(0, 256, (10_000, 256), dtype=np.uint8)
        tags_BT = rng.integers(1, 1 << 32, (10_000, 64), dtype=np.uint32)
        doc_nos_B, symbols_B = np.arange(first, first + 10_000), np.zeros(10_000, np.uint32)
        match(index, doc_nos_B, sketches_BQ, tags_BT, symbols_B)
        assert len(index) == first + 10_000
        assert index.num_bytes() <= 640 * len(index) + 200_000
