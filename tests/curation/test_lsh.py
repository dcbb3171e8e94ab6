"""The index against a plain search over all survivors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from curation.kernels import lsh
from curation.kernels.lsh import SignatureIndex

MIN_EQUAL = 98


def families(seed: int, count: int, num_permutations: int = 128, bits: int = 8) -> NDArray[np.uint8]:
    """Signatures, a value a permutation, of which many resemble an earlier one to every degree, and some equal it."""
    rng = np.random.default_rng(seed)
    signatures_BK = rng.integers(0, 1 << bits, (count, num_permutations), dtype=np.uint8)
    for row in range(1, count):
        if rng.random() < 0.7:
            copied_K = rng.random(num_permutations) < rng.choice([0.3, 0.6, 0.75, 0.78, 0.85, 1.0])
            signatures_BK[row, copied_K] = signatures_BK[rng.integers(max(0, row - 40), row), copied_K]
    return signatures_BK


def plain_search(
    doc_nos: list[int],
    signatures_BK: NDArray[np.uint8],
    *,
    num_bands: int,
    band_rows: int,
    min_equal: int,
    dropped: dict[int, int],
) -> list[tuple[int, int]]:
    """(match, equal) of every document; `dropped` maps the row before which a document is dropped to the document."""
    numbers_B = np.array(doc_nos)
    is_survivor_B = np.zeros(len(doc_nos), np.bool_)
    found = []
    for row, signature_K in enumerate(signatures_BK):
        if row in dropped:
            is_survivor_B &= numbers_B != dropped[row]
        others = np.flatnonzero(is_survivor_B)
        equal_SK = signatures_BK[others] == signature_K
        bands_SR = equal_SK[:, : num_bands * band_rows].reshape(len(others), num_bands, band_rows)
        shares_band_S = bands_SR.all(axis=2).any(axis=1)
        equal_S = np.where(shares_band_S, equal_SK.sum(axis=1), 0)
        if len(others) and equal_S.max() >= min_equal:
            found.append((doc_nos[others[equal_S.argmax()]], int(equal_S.max())))
        else:
            is_survivor_B[row] = True
            found.append((-1, 0))
    return found


def search_in_batches(
    index: SignatureIndex,
    doc_nos: list[int],
    signatures_BK: NDArray[np.uint8],
    *,
    batch: int,
    min_equal: int = MIN_EQUAL,
    dropped: dict[int, int] | None = None,
) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    cuts = sorted({*range(0, len(doc_nos), batch), *(dropped or {}), len(doc_nos)})
    for first, end in itertools.pairwise(cuts):
        if dropped and first in dropped:
            index.drop(dropped[first])
        eligible_B = np.ones(end - first, np.bool_)
        rows = slice(first, end)
        matches_B, equal_B = index.match(np.array(doc_nos[rows]), signatures_BK[rows], eligible_B, min_equal)
        found += zip(matches_B.tolist(), equal_B.tolist(), strict=True)
    return found


@pytest.mark.parametrize("batch", [1, 7, 1000])
@pytest.mark.parametrize(
    ("num_permutations", "bits", "num_bands", "band_rows"),
    [
        (256, 4, 16, 8),
        (128, 8, 16, 8),
        (64, 8, 4, 16),
        (256, 8, 32, 8),
        (256, 4, 32, 4),
        (192, 8, 10, 12),
        (128, 4, 16, 6),
    ],
)
def test_matches_are_those_of_a_search_over_all_survivors(
    num_permutations: int, bits: int, num_bands: int, band_rows: int, batch: int
) -> None:
    signatures_BK = families(3, 700, num_permutations, bits)
    packed_BP = signatures_BK if bits == 8 else signatures_BK[:, ::2] | signatures_BK[:, 1::2] << 4
    doc_nos = list(range(10, 10 + 3 * 700, 3))
    min_equal = round(0.76 * num_permutations)
    dropped = {200: doc_nos[0], 300: doc_nos[150], 301: doc_nos[299], 450: 7}
    index = SignatureIndex(
        num_bytes=num_permutations * bits // 8, bits=bits, num_bands=num_bands, band_bytes=band_rows * bits // 8
    )
    found = search_in_batches(index, doc_nos, packed_BP, batch=batch, min_equal=min_equal, dropped=dropped)
    assert found == plain_search(
        doc_nos, signatures_BK, num_bands=num_bands, band_rows=band_rows, min_equal=min_equal, dropped=dropped
    )
    assert sum(match >= 0 for match, _ in found) > 100


def test_matches_do_not_depend_on_batches_while_the_table_grows() -> None:
    signatures_BK = families(4, 3000)
    doc_nos = list(range(3000))
    dropped = {row: row - 5 for row in range(100, 2500, 3)}
    results = []
    for batch in (1000, 3000, 17):
        index = SignatureIndex(num_bytes=128, bits=8, num_bands=16, band_bytes=8)
        found = search_in_batches(index, doc_nos, signatures_BK, batch=batch, dropped=dropped)
        assert len(index) == sum(match < 0 for match, _ in found) - sum(found[row][0] < 0 for row in dropped.values())
        results.append(found)
    assert results[0] == results[1] == results[2]
    assert results[0] == plain_search(
        doc_nos, signatures_BK, num_bands=16, band_rows=8, min_equal=MIN_EQUAL, dropped=dropped
    )


def test_a_dropped_document_makes_room_for_its_next_copy() -> None:
    signature_1K = families(1, 1)
    index = SignatureIndex(num_bytes=128, bits=8, num_bands=16, band_bytes=8)
    copies_BK = np.repeat(signature_1K, 2, axis=0)
    assert search_in_batches(index, [3, 5], copies_BK, batch=9) == [(-1, 0), (3, 128)]
    assert index.drop(3)
    assert not index.drop(3)
    assert not index.drop(5)
    assert len(index) == 0
    assert search_in_batches(index, [8, 9], copies_BK, batch=9) == [(-1, 0), (8, 128)]


def test_documents_that_are_not_eligible_neither_match_nor_are_matched() -> None:
    index = SignatureIndex(num_bytes=128, bits=8, num_bands=16, band_bytes=8)
    same_BK = np.repeat(families(1, 1), 4, axis=0)
    matches_B, _ = index.match(np.arange(4), same_BK, np.array([False, True, False, True]), MIN_EQUAL)
    assert matches_B.tolist() == [-1, -1, -1, 1]
    assert len(index) == 1


def test_document_numbers_must_increase() -> None:
    index = SignatureIndex(num_bytes=128, bits=8, num_bands=16, band_bytes=8)
    signatures_BK = families(1, 2)
    index.insert(np.array([0, 4]), signatures_BK)
    index.drop(4)
    for doc_nos in ([4, 5], [6, 6], [9, 7]):
        with pytest.raises(ValueError, match="must increase"):
            index.insert(np.array(doc_nos), signatures_BK)


@pytest.mark.parametrize("kind", ["anywhere", "few homes", "at the end"])
def test_every_entry_is_found_after_the_table_has_grown(kind: str) -> None:
    rng = np.random.default_rng(7)
    for capacity in [*range(8, 200, 3), 20_000]:
        count = int(capacity * rng.uniform(0.1, 0.8))
        if kind == "anywhere":
            hashes = rng.integers(0, 2**32, count)
        elif kind == "few homes":
            hashes = rng.choice(np.array([0, 2**31, 2**32 - 1, 2**32 - 2**20]), min(count, 2000))
        else:
            hashes = 2**32 - 1 - rng.integers(0, 2**30, min(count, 2000))
        entries = [np.uint64(int(h) << 32 | (i + 1)) for i, h in enumerate(hashes.tolist())]
        table_C = np.zeros(capacity, np.uint64)
        for entry in entries:
            lsh.enter(table_C, entry)
        for _ in range(3):
            old_capacity = len(table_C)
            table_C.resize(int(old_capacity * 1.2) + 1, refcheck=False)
            lsh.spread(table_C, old_capacity)
            assert sorted(table_C[table_C != 0].tolist()) == sorted(map(int, entries))
            assert_reachable(table_C)


def assert_reachable(table_C: NDArray[np.uint64]) -> None:
    """Between the home of an entry and its place there is no empty place."""
    taken = np.flatnonzero(table_C)
    homes = np.array([lsh.home(table_C[place], len(table_C)) for place in taken.tolist()], np.int64)
    distances = (taken - homes) % len(table_C)
    empty_before = np.concatenate(([0], np.cumsum(table_C == 0), [0]))
    around = empty_before[-2]
    gaps = empty_before[taken] - empty_before[homes] + np.where(taken < homes, around, 0)
    assert (gaps == 0).all()
    assert (distances < len(table_C)).all()


def test_restored_survivors_match_like_the_first_ones() -> None:
    signatures_BK = families(9, 4000)
    doc_nos = list(range(4000))
    index = SignatureIndex(num_bytes=128, bits=8, num_bands=16, band_bytes=8)
    found = search_in_batches(index, doc_nos[:2000], signatures_BK[:2000], batch=100)
    kept = [doc_no for doc_no in doc_nos[:2000] if found[doc_no][0] < 0]
    restored = SignatureIndex(num_bytes=128, bits=8, num_bands=16, band_bytes=8)
    restored.insert(np.array(kept), signatures_BK[kept])
    assert len(restored) == len(index)
    later = [search_in_batches(each, doc_nos[2000:], signatures_BK[2000:], batch=64) for each in (index, restored)]
    assert later[0] == later[1]


def test_memory_stays_below_420_bytes_a_document() -> None:
    rng = np.random.default_rng(0)
    index = SignatureIndex(num_bytes=128, bits=8, num_bands=16, band_bytes=8)
    for first in range(0, 300_000, 10_000):
        signatures_BK = rng.integers(0, 256, (10_000, 128), dtype=np.uint8)
        index.match(np.arange(first, first + 10_000), signatures_BK, np.ones(10_000, np.bool_), MIN_EQUAL)
        assert len(index) == first + 10_000
        assert index.num_bytes() <= 420 * len(index) + 200_000
