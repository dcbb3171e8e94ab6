"""Models that score: a pure function of a text to numbers, by name. Heads are such, and so is a target."""

from __future__ import annotations

from typing import Annotated, Protocol

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

    file: Annotated[str, msgspec.Meta(min_length=1)]
    """A head of `curatord quality fit`, or a model of fastText, which ends in .bin or .ftz."""
    label: str = ""
    """The label of fastText whose probability is the score, as "__label__hq"; "" for the first of a file with two."""
    min: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """Least score of a document that is kept; unset for none."""
    max: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """Highest score of a document that is kept; unset for none."""
