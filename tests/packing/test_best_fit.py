"""Best fit: the tightest row, found by bitsets; rounds of a thousand and rows that are carried."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.best_fit import best_fit
from packing.packer import Packer
from packing.packing_config import PackingConfig
from tests.packing.streams import log_normal, pack_all


@settings(max_examples=200, deadline=None)
@given(
    context_length=st.sampled_from([1, 63, 64, 65, 4095, 4096, 5000, 300_000]),
    lengths=st.lists(st.floats(0, 1), max_size=60),
    rooms=st.lists(st.floats(0, 1), max_size=40),
)
def test_every_piece_goes_into_the_tightest_row(context_length: int, lengths: list[float], rooms: list[float]) -> None:
    pieces = [max(1, round(x * context_length)) for x in lengths]
    room = [round(x * context_length) for x in rooms]
    rows_N, num_rows = best_fit(np.array(pieces, np.int64), np.array(room, np.int64), context_length)
    for n, r in zip(pieces, rows_N.tolist(), strict=True):
        fitting = [free for free in room if free >= n]
        if fitting:
            assert room[r] == min(fitting)
        else:
            assert r == len(room)
            room.append(context_length)
        room[r] -= n
    assert num_rows == len(room)


@pytest.mark.parametrize(("context_length", "percent"), [(2048, 0.07), (4096, 0.07), (8192, 0.045), (32768, 0.012)])
def test_padding_is_that_of_the_literature(context_length: int, percent: float) -> None:
    stream = log_normal(60_000)
    packer = Packer(PackingConfig(context_length=context_length, mode="best_fit"), dimension=0)
    rows = pack_all(packer, stream, documents_per_call=4096)
    stats = packer.stats
    assert 100 * stats.padding_tokens / ((stats.rows - stats.rows_flushed) * context_length) <= percent
    assert sum(row.num_tokens() for row in rows) == stream.lengths_B.sum()
    assert stats.documents_cut == 0
    assert stats.longest_wait <= 8000


def test_no_row_is_carried_longer_than_the_wait_allows() -> None:
    stream = log_normal(3_000)
    config = PackingConfig(mode="best_fit", pool_documents=100, max_wait_arrivals=250)
    packer = Packer(config, dimension=0)
    pack_all(packer, stream)
    assert packer.stats.longest_wait <= 250
