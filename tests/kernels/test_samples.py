from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.columns import join_texts
from kernels.samples import take_samples


@given(
    st.lists(st.text(st.sampled_from("abé中😀 \n"), max_size=900), max_size=4), st.integers(0, 3),
    st.sampled_from((256, 1024)),
)  # fmt: skip
def test_samples_are_whole_characters_of_the_text_within_the_budget(
    texts: list[str], times: int, sample_bytes: int
) -> None:
    texts = [text * 10**times for text in texts]
    samples, middles_B = take_samples(join_texts(texts), sample_bytes)
    for b, text in enumerate(texts):
        sample = samples[b]
        assert len(sample.encode()) <= sample_bytes
        if len(text.encode()) <= sample_bytes:
            assert sample == text
        else:
            assert len(sample.encode()) > sample_bytes / 4
            assert set(sample) <= {*text, " "}
            assert samples.buffer_N[middles_B[b]] == ord(" ")


@pytest.mark.parametrize("sample_bytes", [256, 1024])
def test_pieces_of_a_sample_lie_evenly_over_a_long_document(sample_bytes: int) -> None:
    text = " ".join(f"{number:06d}" for number in range(100_000))
    samples, middles_B = take_samples(join_texts([text]), sample_bytes)
    numbers = [int(word) for word in samples[0].split()]
    gaps = [later - earlier for earlier, later in itertools.pairwise(numbers) if later - earlier > 1]
    assert len(gaps) == 7
    assert max(gaps) < 1.01 * min(gaps)
    assert numbers[0] == 0
    assert numbers[-1] == 99_999
    assert len(samples[0][: middles_B[0]].split()) == len(numbers) // 2
