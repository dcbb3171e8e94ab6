"""Reports of a trainer: sums by segment, independent of values where there is no target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from curatord.feedback import MAX_SEGMENTS, Reporter, segment_losses
from curatord.sequence import HEAD_PRESENT, NO_LOSS, TAIL_PRESENT, PackedSequence
from tests.curatord.streams import row


def of_lengths(lengths: list[int], flags: list[int], seq_no: int = 0) -> PackedSequence:
    count = len(lengths)
    return replace(
        row(seq_no),
        context_length=64,
        tokens_T=np.zeros(sum(lengths), np.uint32),
        segment_lengths_S=np.array(lengths, np.uint32),
        segment_flags_S=np.array(flags, np.uint8),
        segment_offsets_S=np.zeros(count, np.uint32),
        doc_ids=tuple(map(str, range(count))),
        clusters_S=np.zeros(count, np.int32),
        policy_versions_S=np.zeros(count, np.int32),
        propensities_S=np.ones(count, np.float32),
    )


@given(
    segments=st.lists(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=6), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    shifted=st.booleans(),
)
def test_sums_are_those_of_every_target_one_by_one(
    segments: list[list[tuple[int, bool]]], seed: int, shifted: bool
) -> None:
    batch = [of_lengths([n for n, _ in of_row], [NO_LOSS * muted for _, muted in of_row]) for of_row in segments]
    losses_BL = np.random.default_rng(seed).random((len(batch), 64 - shifted))
    expected_sums, expected_targets = [], []
    for losses_L, of_row in zip(losses_BL, segments, strict=True):
        start = 0
        for length, muted in of_row:
            targets = [] if muted else range(start + 1, start + length)  # the first token is no target
            expected_sums.append(sum(losses_L[token - shifted] for token in targets))
            expected_targets.append(len(targets))
            start += length

    sums, num_targets = segment_losses(losses_BL, batch, shifted=shifted)

    np.testing.assert_allclose(sums, expected_sums, rtol=1e-6, atol=1e-6)
    assert num_targets.tolist() == expected_targets


@pytest.mark.parametrize("shifted", [False, True])
def test_losses_in_ranges_without_loss_do_not_count(shifted: bool) -> None:
    losses_BL = np.arange(1, 13 - shifted, dtype=np.float64)[None]
    losses_BL[0, 6 - shifted] = np.nan
    no_loss_R2 = np.array([[0, 1], [2, 5], [6, 8]], np.uint32)  # two first tokens among them
    sequence = replace(of_lengths([4, 5, 3], [3, 3, 3 | NO_LOSS]), no_loss_R2=no_loss_R2)

    sums, num_targets = segment_losses(losses_BL, [sequence], shifted=shifted)

    assert num_targets.tolist() == [1, 2, 0]
    assert sums.tolist() == [2 - shifted, 6 + 9 - 2 * shifted, 0]


def test_one_bad_loss_spoils_its_own_segment_alone() -> None:
    losses_BL = np.ones((1, 12))
    losses_BL[0, [0, 4, 6]] = np.nan  # two first tokens, and one that is a target

    sums, num_targets = segment_losses(
        losses_BL, [of_lengths([4, 5, 3], [HEAD_PRESENT | TAIL_PRESENT] * 3)], shifted=False
    )

    assert sums[0] == 3
    assert np.isnan(sums[1])
    assert sums[2] == 2
    assert num_targets.tolist() == [3, 4, 2]


def test_losses_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="one row each"):
        segment_losses(np.zeros((2, 9)), [of_lengths([9], [3])], shifted=False)
    with pytest.raises(ValueError, match="8 losses for the 9 tokens"):
        segment_losses(np.zeros((1, 8)), [of_lengths([9], [3])], shifted=False)


def test_a_step_with_more_segments_than_a_record_counts_is_dropped() -> None:
    reporter = Reporter("127.0.0.1:1", "feedback", {}, run_id="run", rank=0, world=1)
    count = MAX_SEGMENTS + 1

    reporter.report(np.zeros((1, count)), [of_lengths([1] * count, [0] * count)], step=0, shifted=False, skipped=False)
    reporter.close()

    assert (reporter.sent, reporter.dropped) == (0, 1)
