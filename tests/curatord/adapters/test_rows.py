"""The arrays of a batch, against a second way to make them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from curatord.adapters.rows import refuse_weights, rows
from curatord.errors import UnsafeTraining
from curatord.sequence import NO_LOSS, PackedSequence
from tests.curatord.adapters.streams import marked, weighted
from tests.curatord.streams import CONTEXT

ROOT = Path(__file__).parents[3]


def expected(sequence: PackedSequence, length: int, *, shifted: bool, multiple: int, pad_id: int) -> list[list[int]]:
    """Token by token."""
    ids, positions, labels = [], [], []
    tokens = sequence.tokens_T.tolist()
    for size, flags in zip(sequence.segment_lengths_S.tolist(), sequence.segment_flags_S.tolist(), strict=True):
        segment, tokens = tokens[:size], tokens[size:]
        targets = [*segment[1:], -100] if shifted else [-100, *segment[1:]]
        padding = -size % multiple
        ids += segment + [pad_id] * padding
        positions += range(size + padding)
        labels += ([-100] * size if flags & NO_LOSS else targets) + [-100] * padding
    tail = length - len(ids)
    return [ids + [pad_id] * tail, positions + list(range(tail)), labels + [-100] * tail]


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("multiple", [1, 4])
@pytest.mark.parametrize("narrow", [False, True])
def test_rows_are_what_the_segments_say(shifted: bool, multiple: int, narrow: bool) -> None:
    batch = [marked(seq_no) for seq_no in range(20)]
    if narrow:
        batch = [replace(sequence, tokens_T=sequence.tokens_T.astype(np.uint16)) for sequence in batch]

    found = rows(batch, shifted=shifted, multiple=multiple, pad_id=7)

    length = found.input_ids_BL.shape[1]
    assert length == CONTEXT if multiple == 1 else length >= CONTEXT and length % multiple == 0
    for number, sequence in enumerate(batch):
        wanted = expected(sequence, length, shifted=shifted, multiple=multiple, pad_id=7)
        arrays = (found.input_ids_BL, found.position_ids_BL, found.labels_BL)
        assert [array[number].tolist() for array in arrays] == wanted
        assert found.seq_lengths[number].sum() == length
    assert {array.dtype for array in arrays} == {np.dtype(np.int64)}
    starts = np.flatnonzero(found.position_ids_BL.ravel() == 0)
    assert found.cu_seqlens.tolist() == [*starts, len(batch) * length]
    assert found.cu_seqlens.dtype == np.int32


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("multiple", [1, 4])
def test_weights_are_those_of_the_documents_of_the_labels(shifted: bool, multiple: int) -> None:
    batch = [weighted(seq_no) if seq_no % 3 else marked(seq_no) for seq_no in range(20)]
    found = rows(batch, shifted=shifted, multiple=multiple)
    assert found.weights_BL is not None
    for number, sequence in enumerate(batch):
        weights = [1.0] * len(sequence.segment_lengths_S) if sequence.weights_S is None else sequence.weights_S
        wanted: list[float] = []
        for size, flags, weight in zip(sequence.segment_lengths_S, sequence.segment_flags_S, weights, strict=True):
            has_loss = not flags & NO_LOSS
            of_first, of_last = (weight, 0.0) if shifted else (0.0, weight)
            inner = [weight] * (int(size) - 2)
            wanted += [w * has_loss for w in (of_first, *inner, of_last)] + [0.0] * (-int(size) % multiple)
        wanted += [0.0] * (found.weights_BL.shape[1] - len(wanted))
        assert found.weights_BL[number].tolist() == wanted
    assert rows([marked(1)]).weights_BL is None


def test_weights_are_refused_where_they_would_not_be_heeded() -> None:
    refuse_weights([marked(1)], "elsewhere")
    with pytest.raises(UnsafeTraining, match=r"sequence 2 has weights, .* not heed them: elsewhere"):
        refuse_weights([marked(1), weighted(2)], "elsewhere")


def test_a_missing_sequence_is_a_row_of_padding() -> None:
    empty = np.zeros(0, np.uint32)
    missing = replace(
        marked(1), context_length=0, tokens_T=empty, segment_lengths_S=empty, segment_flags_S=empty.astype(np.uint8)
    )

    found = rows([missing, marked(2)])

    assert found.input_ids_BL[0].tolist() == [0] * CONTEXT
    assert found.position_ids_BL[0].tolist() == list(range(CONTEXT))
    assert (found.labels_BL[0] == -100).all()
    assert rows([missing]).input_ids_BL.shape == (1, 1)


def test_a_length_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="takes 32 tokens, a row has 31"):
        rows([marked(0)], length=31)
    assert rows([marked(0)], length=40).input_ids_BL.shape == (1, 40)


def test_a_reader_without_torch_stays_light() -> None:
    program = (
        "import sys, curatord, curatord.adapters.rows, curatord.adapters.batches\n"
        "print({'torch', 'transformers', 'datasets', 'pyarrow'} & set(sys.modules))"
    )

    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT).stdout == "set()\n"


@pytest.mark.parametrize("shifted", [False, True])
def test_tokens_in_ranges_without_loss_are_no_targets(shifted: bool) -> None:
    for seq_no in range(8):
        sequence = marked(seq_no)
        muted_T = np.random.default_rng(seq_no).random(len(sequence.tokens_T)) < 0.5
        edges = np.flatnonzero(np.diff(muted_T, prepend=False, append=False)).astype(np.uint32)
        plain = rows([sequence], shifted=shifted).labels_BL[0]
        labels = rows([replace(sequence, no_loss_R2=edges.reshape(-1, 2))], shifted=shifted).labels_BL[0]

        for place, (before, after) in enumerate(zip(plain.tolist(), labels.tolist(), strict=True)):
            token = place + shifted  # of which the label stands here
            is_muted = token < len(muted_T) and bool(muted_T[token])
            assert after == (-100 if is_muted else before)
