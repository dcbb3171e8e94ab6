"""Normal form C against Python's own, and the work that is left to Python's on texts of nothing but marks."""

from __future__ import annotations

import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.dedup.exact import text_keys
from kernels.columns import join_texts
from kernels.nfc import MAX_RUN, marks, nfc, with_ordered_runs
from kernels.words import normal_form

MARKS = list(map(chr, marks().tolist()))
CHARACTERS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]


def moves(text: str) -> int:
    """Steps by which CPython's insertion moves marks back to put them into canonical order."""
    num_moves = 0
    run: list[int] = []
    for part in "".join(unicodedata.normalize("NFD", character) for character in text):
        number = unicodedata.combining(part)
        at = len(run)
        while number and at and run[at - 1] > number:
            at -= 1
        num_moves += len(run) - at
        run = [*run[:at], number, *run[at:]] if number else []
    return num_moves


@given(st.text(st.sampled_from([*"ae ệ\u1100\u09c7각", *MARKS]), max_size=60).map(lambda text: text * 4))
def test_every_text_has_the_normal_form_that_python_gives_it(text: str) -> None:
    assert nfc(text) == unicodedata.normalize("NFC", text)
    assert nfc(nfc(text)) == nfc(text)


def test_every_character_that_canonical_ordering_moves_is_a_mark() -> None:
    moved = {c for c in CHARACTERS if unicodedata.combining(unicodedata.normalize("NFD", c)[0])}

    assert set(MARKS) == moved


@pytest.mark.parametrize(
    "run",
    ["\u0301\u0327", "\u0f73", "\u0344\u0323", "".join(reversed(MARKS)), "\u05b0\u05bc\u0301", "\U0001d165\U0001d16d"],
    ids=ascii,
)
def test_marks_in_any_order_leave_python_a_bounded_number_of_moves_each(run: str) -> None:
    text = "aệ" + run * (3000 // len(run)) + "b"

    assert moves(with_ordered_runs(text)) <= MAX_RUN * len(text)


def test_texts_with_long_runs_are_equal_if_their_marks_differ_only_in_order() -> None:
    one, other, third = "a" + "\u0301\u0327" * 5000, "a" + "\u0327" * 5000 + "\u0301" * 5000, "a" + "\u0301" * 10_000

    keys_B2 = text_keys(join_texts([one, other, third]))

    assert np.array_equal(keys_B2[0], keys_B2[1])
    assert not np.array_equal(keys_B2[0], keys_B2[2])
    assert normal_form(one) == normal_form(other) != normal_form(third)
