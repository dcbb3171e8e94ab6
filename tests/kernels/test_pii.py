"""Candidates for personal data: where they are, and where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.kernels.pii_candidates import found, lengths_of_accounts


@pytest.fixture(scope="module")
def lengths() -> NDArray[np.int64]:
    return lengths_of_accounts()


@pytest.mark.parametrize("before", range(130))
def test_the_place_among_blocks_does_not_matter(before: int, lengths: NDArray[np.int64]) -> None:
    parts = [
        "AKIAIOSFODNN7EXAMPLE",
        "DE89370400440532013000",
        "+4930901820",
        "4111111111111111",
        "a@b.example",
        "8.8.8.8",
    ]

    texts = [("x" * before + " " + part)[-before - len(part) :] for part in parts]
    alone = [part for _, _, part in found(texts, lengths) if part in parts]

    assert alone == parts


def test_a_text_does_not_see_its_neighbours(lengths: NDArray[np.int64]) -> None:
    texts = [
        "a@",
        "b.example",
        "+4930",
        "901820",
        "DE8937040044",
        "0532013000",
        "1.2",
        ".3.4",
        "AKIAIOSF",
        "ODNN7EXAMPLE",
    ]

    assert found(texts, lengths) == []


def test_national_ids_are_stretches_of_groups_of_the_length(lengths: NDArray[np.int64]) -> None:
    ids = [text for _, kind, text in found(["111.444.777-35, 12345678-Z a12345678 1234567"], lengths, (8, 11))]

    assert ids == ["111.444.777-35", "12345678", "12345678-Z"]


def test_there_is_room_for_as_many_as_there_are(lengths: NDArray[np.int64]) -> None:
    assert len(found(["a@b.example " * 5000], lengths)) == 5000
