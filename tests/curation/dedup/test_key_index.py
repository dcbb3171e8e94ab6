"""Keys on disk and in memory are the keys of a dict that is all in memory, whenever they are sealed or opened again."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curation.dedup.hash_index import hash_keys
from curation.dedup.key_index import IdIndex, KeyIndex
from curation.dedup.retracted import Retracted

NAMES = st.lists(st.integers(0, 12), max_size=6)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), NAMES),
        st.tuples(st.just("retract"), NAMES),
        st.tuples(st.sampled_from(["seal", "open"]), st.just([])),
    ),
    max_size=25,
)


def keys_of(names: list[int]) -> NDArray[np.uint64]:
    return hash_keys([b"%d" % name for name in names])


@pytest.mark.parametrize("forget_after", [0, 9])
@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_the_first_living_document_with_a_key_is_found(forget_after: int, steps: list[tuple[str, list[int]]]) -> None:
    retracted, expected = Retracted(), dict[int, int]()
    tail: list[tuple[int, int]] = []  # since the last seal
    # A merge that a later index does not know of may still write there at the end.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        index = KeyIndex("texts", retracted, forget_after=forget_after)
        next_doc_no = sealed = 0
        runs: list[Path] = []
        for step, names in steps:
            if step == "come":
                found = []
                for number, text in enumerate(names, next_doc_no):
                    owner = expected.get(text, -1)
                    is_known = owner >= 0 and (not forget_after or owner >= number - forget_after)
                    found.append(owner if is_known else -1)
                    if not is_known:
                        expected[text] = number
                        tail.append((text, number))
                numbers_B = np.arange(next_doc_no, next_doc_no + len(names))
                assert index.find_or_insert(keys_of(names), numbers_B, np.ones(len(names), np.bool_)).tolist() == found
                next_doc_no += len(names)
            elif step == "retract":
                for text in set(names) & expected.keys():
                    number = expected.pop(text)
                    retracted.add([number])
                    index.drop(keys_of([text]), np.array([number]))
            elif step == "seal" and next_doc_no > sealed:
                index.seal(folder, next_doc_no)
                index.tier.hold(0)
                runs, sealed = [run.path for run in index.tier.runs], next_doc_no
                tail.clear()
            elif step == "open":
                index = KeyIndex("texts", retracted, forget_after=forget_after)
                index.tier.open(runs)
                index.tier.hold(1 << 20)
                living = [(text, number) for text, number in tail if not retracted.among(np.array([number]))[0]]
                index.assign(
                    keys_of([text for text, _ in living]), np.array([number for _, number in living], np.int64)
                )


def test_the_newest_version_of_an_id_is_found_and_people_find_all(tmp_path: Path) -> None:
    retracted = Retracted()
    index = IdIndex(retracted)
    index.note(keys_of([1, 2]), np.array([0, 1]), np.array([False, False]))
    index.note(keys_of([1, 3]), np.array([2, 3]), np.array([False, True]))  # 3 was withheld
    retracted.add([0])
    assert index.find(keys_of([1, 2, 3])).tolist() == [2, 1, -1]
    index.seal(tmp_path, 4)
    index.tier.hold(0)
    assert index.find(keys_of([1, 2, 3])).tolist() == [2, 1, -1]
    index.note(keys_of([2]), np.array([4]), np.array([False]))
    retracted.add([1, 2])
    assert index.find(keys_of([1, 2, 3])).tolist() == [-1, 4, -1]
    rows = index.tier.runs[0].rows()
    assert sorted((rows[:, 2] & np.uint64(0xFFFFFFFF)).tolist()) == [0, 1, 2, 3]
