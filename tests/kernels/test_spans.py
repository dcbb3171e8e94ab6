"""Spans: which stay where some overlap, and texts with pieces in their places."""

from __future__ import annotations

import random

import numpy as np

from kernels.columns import join_texts
from kernels.spans import with_pieces, without_overlaps


def test_of_two_that_overlap_the_lower_rank_stays_then_the_earlier_then_the_longer() -> None:
    spans = [
        *((0, 2, 0, 5), (0, 1, 4, 9), (0, 3, 8, 12), (0, 3, 12, 14)),
        *((1, 1, 0, 5), (1, 1, 0, 7), (2, 0, 3, 4)),
    ]
    random.Random(1).shuffle(spans)

    assert without_overlaps(np.array(spans, np.int64)).tolist() == [
        *([0, 1, 4, 9], [0, 3, 12, 14]),
        *([1, 1, 0, 7], [2, 0, 3, 4]),
    ]


def test_pieces_stand_where_spans_were_and_all_else_stays() -> None:
    texts = join_texts(["", "one äöü two", "three", "日本"])
    first = int(texts.starts_B[1])
    spans = np.array(
        [[1, 0, first, first + 3], [1, 1, first + 11, first + 14], [3, 0, texts.starts_B[3], texts.ends_B[3]]]
    )

    replaced = with_pieces(texts, spans, [b"<1>", b""], np.array([0, 1, 0]))

    assert list(replaced) == ["", "<1> äöü ", "three", "<1>"]
    assert len(replaced.buffer_N) >= replaced.ends_B[-1] + 64
    assert not replaced.buffer_N.flags.writeable
