"""Arrow arrays over buffers."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.formats.arrays import as_numbers, joined, lists, numbers, strings


@given(st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]))), st.booleans())
def test_strings_are_those_that_arrow_makes(values: list[str | None], large: bool) -> None:
    column = strings(values, large=large)
    column.validate(full=True)
    assert column.equals(pa.array(values, pa.large_string() if large else pa.string()))


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)))
def test_numbers_are_those_that_arrow_makes(values: list[int | None]) -> None:
    known_B = np.array([value is not None for value in values], np.bool_)
    column = numbers(np.array([value or 0 for value in values], np.int64), known_B)
    column.validate(full=True)
    assert column.equals(pa.array(values, pa.int64()))


@given(st.lists(st.lists(st.integers(-(2**31), 2**31 - 1))))
def test_lists_are_those_that_arrow_makes(values: list[list[int]]) -> None:
    whole = np.array([number for numbers in values for number in numbers], np.int32)
    column = lists(numbers(whole), np.array([len(one) for one in values], np.int32))
    column.validate(full=True)
    assert column.equals(pa.array(values, pa.list_(pa.int32())))


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1))
def test_slices_are_joined_in_their_order(spans: list[tuple[int, int]]) -> None:
    whole = np.arange(20, dtype=np.uint32)
    parts = [whole[min(span) : max(span)] for span in spans]
    assert joined(parts).tolist() == np.concatenate(parts).tolist()


def test_slices_that_follow_one_another_are_not_copied() -> None:
    whole = np.arange(100, dtype=np.uint32)
    bounds = [5, 8, 8, 40, 100]
    parts = [whole[first:end] for first, end in pairwise(bounds)]

    found = joined(parts)

    assert found.tolist() == list(range(5, 100))
    assert np.shares_memory(found, whole)
    del whole, parts
    assert found.tolist() == list(range(5, 100)), "the array lives as long as what is joined"


@given(st.lists(st.lists(st.integers(0, 2**32 - 1))), st.integers(0, 3))
def test_numbers_are_read_where_they_lie(rows: list[list[int]], start: int) -> None:
    column = pa.array(rows, pa.list_(pa.uint32()))[start:]
    for row, values in zip(column, rows[start:], strict=True):
        assert as_numbers(row.values).tolist() == values
        assert as_numbers(row.values).dtype == np.uint32


@pytest.mark.parametrize(
    "parts",
    [
        [np.arange(10)[::2], np.arange(10)[::2]],
        [np.arange(3), np.arange(3, 5)],
        [np.arange(4, dtype=np.int64)[:2], np.arange(4, dtype=np.int64)[2:].view(np.float64)],
    ],
    ids=["gaps", "arrays of their own", "types"],
)
def test_other_parts_are_copied(parts: list[np.ndarray]) -> None:
    assert joined(parts).tolist() == np.concatenate(parts).tolist()


def test_half_a_surrogate_pair_is_no_string() -> None:
    with pytest.raises(UnicodeEncodeError):
        strings(["\ud800"])


def test_a_shard_is_written_without_pandas() -> None:
    """Neither the sequences nor the verdicts of a commit import it."""
    code = """
import sys
from tempfile import TemporaryDirectory
from pathlib import Path
import numpy as np
from consumers.files.shards import write_holdout, write_sequences, write_table
from consumers.formats.verdicts import verdict_table
from curatord.sequence import PackedSequence
from state.epoch import Epoch, Holdout, VerdictRow

one = dict(segment_lengths_S=np.array([2], np.uint32), segment_offsets_S=np.array([0], np.uint32))
one |= dict(segment_flags_S=np.array([3], np.uint8), clusters_S=np.array([0], np.int32), doc_ids=("a",))
one |= dict(policy_versions_S=np.array([0], np.int32), propensities_S=np.array([1], np.float32))
tokens_T = np.array([1, 2], np.uint32)
sequence = PackedSequence(seq_no=0, generation=0, context_length=8, tokens_T=tokens_T, **one)
row = VerdictRow(doc_id="a", input="f", position=0, source="", outcome="rejected", stage="quality", reason="short",
    value=1.0, threshold=float("nan"), match=-1, num_bytes=1, num_tokens=0, quality=0.5, language="", text="x")
with TemporaryDirectory() as folder:
    write_sequences(Path(folder) / "train.parquet", [sequence])
    write_holdout(Path(folder) / "holdout.parquet", [Holdout(number=0, doc_id="a", source="", url="", text="x")])
    write_table(Path(folder) / "verdicts.parquet", verdict_table([row], Epoch(number=1, identity=""), None), 1)
print("pandas" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert result.stdout.strip() == "False"
