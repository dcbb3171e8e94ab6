"""The training sample: heads of documents, thinned by half for new ones, each document once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curation.ticks import TICK_ORDINALS
from curation.vectors.training_sample import Sample
from state.token_arrays import Tokens


def tokens(doc_nos: list[int]) -> list[Tokens]:
    """Four tokens a document; the first is its number."""
    return [np.array([doc_no, 1, 2, 3], np.uint32) for doc_no in doc_nos]


def held(sample: Sample) -> set[int]:
    return {int(head[0]) for head in (*sample.learned(), *sample.unseen())}


def test_heads_are_copies_of_bounded_length() -> None:
    sample = Sample(max_tokens=2)
    document = np.array([5, 6, 7], np.uint32)
    sample.add([0], [document])
    document[:] = 0

    assert [head.tolist() for head in sample.learned()] == [[5, 6]]


@given(st.lists(st.tuples(st.sampled_from(["add", "thin", "remove"]), st.integers(1, 40)), max_size=12))
def test_it_holds_what_was_added_less_every_other_and_what_was_removed(steps: list[tuple[str, int]]) -> None:
    sample = Sample(max_tokens=2)
    blocks: list[list[int]] = []
    next_doc_no = 0
    for step, number in steps:
        if step == "add":
            new = list(range(next_doc_no, next_doc_no + 25 * number, 3))
            next_doc_no = new[-1] + 1
            sample.add(new, tokens(new))
            blocks += [new[start : start + TICK_ORDINALS] for start in range(0, len(new), TICK_ORDINALS)]
        elif step == "thin":
            sample.thin()
            blocks = [[doc_no for place, doc_no in enumerate(block) if place & 2] for block in blocks]
        else:
            present = [block for block in blocks if number in block]
            assert (sample.remove(number) is not None) == bool(present)
            for block in present:
                block.remove(number)
    assert held(sample) == {doc_no for block in blocks for doc_no in block}
    assert len(sample) == len(held(sample))


def test_documents_that_come_again_do_not_count_again() -> None:
    sample = Sample(max_tokens=4)
    sample.add([0, 1, 4], tokens([0, 1, 4]))

    sample.add([0, 1, 4, 6], tokens([0, 1, 4, 6]))

    assert held(sample) == {0, 1, 4, 6}


def test_a_document_that_was_learned_stays_one_when_others_go() -> None:
    sample = Sample(max_tokens=2)
    for first in (0, 1000, 2000):
        doc_nos = list(range(first, first + 101))
        sample.add(doc_nos, tokens(doc_nos))
    before = {int(head[0]) for head in sample.learned()}
    for size in (75, 36):
        sample.thin()
        learned = [int(head[0]) for head in sample.learned()]
        assert len(learned) == size
        assert before.issuperset(learned)
