"""Models that score: a pure function of a text to numbers, by name. Heads are such, and so is a target."""

from __future__ import annotations

import math
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernels.columns import Texts


class Model(Protocol):
    """A pure function of a text to numbers. B texts."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers, as rewards, `explain` and verdicts have them."""

    @property
    def digest(self) -> str:
        """Of all that the numbers hang on beside the text."""

    def score(self, texts: Texts) -> NDArray[np.float32]:
        """Numbers for each text, [B, len(names)]; NaN where there is nothing to say."""


class HeadConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A head: [quality.heads.NAME]."""

    file: str = ""
    """A head of `curatord quality fit`, or a model of fastText, which ends in .bin or .ftz; "" where documents bring
    the score along, in a field of [input.fields] scores."""
    label: str = ""
    """The label of fastText whose probability is the score, as "__label__hq"; "" for the first of a file with two."""
    min: float | None = None
    """Least score of a document that is kept; unset for none. Of a model between 0 and 1, here and below."""
    max: float | None = None
    """Highest score of a document that is kept; unset for none."""

    def __post_init__(self) -> None:
        for name, limit in (("min", self.min), ("max", self.max)):
            if limit is not None and not (0 <= limit <= 1 if self.file else math.isfinite(limit)):
                scale = "a score of a model is between 0 and 1" if self.file else "it has to be a number"
                raise ValueError(f"`{name}` = {limit}: {scale}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"`min` = {self.min} is above `max` = {self.max}: nothing would be kept")
        if self.label and not self.file:
            raise ValueError("`label` is for a model of fastText: name it in `file`")
