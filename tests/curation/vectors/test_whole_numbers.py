"""Products of whole numbers: near those of floats, and taken back to the last bit."""

from __future__ import annotations

import pytest
import torch
from torch.nn import Linear, ReLU, Sequential

from curation.vectors.teacher import _has
from curation.vectors.whole_numbers import WholeLinear, multiply_whole

needs_vnni = pytest.mark.skipif(not _has("avx512_vnni", "avx_vnni"), reason="the processor has no VNNI")


@needs_vnni
def test_products_are_near_those_of_floats_though_rows_differ_in_scale() -> None:
    torch.manual_seed(0)
    linear = Linear(384, 70)
    with torch.inference_mode():
        linear.weight[::2] *= 100.0
        linear.weight[3] = 0.0
        rows_PE = torch.randn(50, 384)
        exact_PO, found_PO = linear(rows_PE), WholeLinear(linear)(rows_PE)
    assert (torch.cosine_similarity(exact_PO.T, found_PO.T) > 0.999).all()
    assert torch.allclose(found_PO[:, 3], exact_PO[:, 3])
    assert torch.cosine_similarity(exact_PO, found_PO).min() > 0.999


@needs_vnni
def test_a_model_takes_its_floats_back() -> None:
    model = Sequential(Linear(16, 8), Sequential(ReLU(), Linear(8, 4)))
    with torch.inference_mode():
        rows_PE = torch.randn(5, 16)
        before_PO = model(rows_PE)
        undo = multiply_whole(model)
        assert not torch.equal(model(rows_PE), before_PO)
        undo()
        assert torch.equal(model(rows_PE), before_PO)
