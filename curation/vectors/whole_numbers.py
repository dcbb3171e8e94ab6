"""Whole numbers: the products of a model in int8 with a scale for each row of weights and each text.

The weights are rounded once, the rows that come in as they come. The scale of a text's rows spans all 8 bits, which the
instructions of VNNI add up without overflow, and older ones do not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import Linear, Module


class WholeLinear(Module):
    """A linear layer that multiplies whole numbers. Raises what a torch without such kernels raises."""

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        scales_O = linear.weight.abs().amax(dim=1).double().clamp(min=1e-30) / 127
        zeros_O = torch.zeros(len(scales_O), dtype=torch.int64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that others are to use another library
            weights_OE = torch.quantize_per_channel(linear.weight, scales_O, zeros_O, 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(weights_OE, linear.bias)

    def forward(self, rows_PE: Tensor) -> Tensor:
        """The products, in float32."""
        products_PO: Tensor = torch.ops.quantized.linear_dynamic(rows_PE, self._packed, False)
        return products_PO


def multiply_whole(model: Module) -> Callable[[], None]:
    """Let every linear layer of the model be such a one, until the result is called."""
    linears = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is Linear
    ]
    wholes = [WholeLinear(linear) for _, _, linear in linears]
    for (parent, name, _), whole in zip(linears, wholes, strict=True):
        setattr(parent, name, whole)

    def undo() -> None:
        for parent, name, linear in linears:
            setattr(parent, name, linear)

    return undo
