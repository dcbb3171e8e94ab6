"""A preview counts tokens, padding and cut documents of the sequences that hold something."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from curatord.preview import preview
from curatord.sequence import HEAD_PRESENT
from tests.curatord.streams import CONTEXT, row


def test_a_preview_adds_up() -> None:
    rows = [row(number) for number in range(20)]
    rows[3] = msgspec.structs.replace(
        rows[3], segment_flags_S=np.full(len(rows[3].segment_lengths_S), HEAD_PRESENT, np.uint8)
    )

    found = preview(rows)

    tokens = sum(len(each.tokens_T) for each in rows)
    assert (found.sequences, found.tokens) == (20, tokens)
    assert found.segments == sum(len(each.segment_lengths_S) for each in rows) == found.segments_per_sequence * 20
    assert found.fragments == len(rows[3].segment_lengths_S)
    assert found.padding == pytest.approx(1 - tokens / (20 * CONTEXT))
    assert found.longest_segment == max(int(each.segment_lengths_S.max()) for each in rows)


def test_nothing_is_like_nothing() -> None:
    assert preview([]).padding == preview([]).attention == 0.0
