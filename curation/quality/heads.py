"""Heads: learned quality. A number for each text by a model of the user's, between 0 and 1.

An own head is logistic regression on the shares of hashed words and pairs of words (`kernels.ngrams`), made by
`curatord quality fit`: shares, so that the length of a text says nothing by itself. A file of fastText (Joulin et al.,
"Bag of Tricks for Efficient Text Classification", 2017) gives the probability of one of its labels, as the classifiers
of DCLM and others do. Both are pure.

Shape legend: B documents, H buckets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from curation.quality.models import HeadConfig, Model
from curatord.errors import ConfigError
from kernels.columns import Texts
from kernels.ngrams import mean_weights

BUCKETS = 1 << 16
FORMAT = "curatord head 1"


class HeadFile(msgspec.Struct, frozen=True, kw_only=True):
    """An own head as it lies in a file, in MessagePack."""

    format: str
    name: str
    weights: bytes  # f32 [H]
    bias: float
    report: dict[str, Any]  # of the fit, for people


@dataclass(frozen=True, slots=True, kw_only=True)
class NgramHead:
    """An own head."""

    name: str
    digest: str
    weights_H: NDArray[np.float32]
    bias: float

    @property
    def names(self) -> tuple[str, ...]:
        """Of its one score."""
        return (self.name,)

    def score(self, texts: Texts) -> NDArray[np.float32]:
        """Calibrated probabilities, [B, 1]; NaN without any word."""
        means_B = mean_weights(texts, self.weights_H).astype(np.float64) + self.bias
        return (1.0 / (1.0 + np.exp(-means_B))).astype(np.float32)[:, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FasttextHead:
    """A model of fastText."""

    name: str
    digest: str
    model: Any
    label: str

    @property
    def names(self) -> tuple[str, ...]:
        """Of its one score."""
        return (self.name,)

    def score(self, texts: Texts) -> NDArray[np.float32]:
        """Probability of the label, [B, 1]. A line of fastText is a text; an empty one gets no score."""
        scores_B1 = np.full((len(texts), 1), np.nan, np.float32)
        lines = [text.replace("\n", " ").strip() for text in texts]
        rows = [row for row, line in enumerate(lines) if line]
        if rows:
            labels, shares = self.model.predict([lines[row] for row in rows], k=-1)
            for row, names, of_names in zip(rows, labels, shares, strict=True):
                if self.label in names:
                    scores_B1[row, 0] = min(float(of_names[list(names).index(self.label)]), 1.0)
        return scores_B1


def open_heads(heads: Mapping[str, HeadConfig]) -> tuple[Model, ...]:
    """The heads from files, in the order of their names. Raises `ConfigError` saying which cannot be used."""
    opened: list[Model] = []
    for name, config in sorted((name, config) for name, config in heads.items() if config.file):
        try:
            raw = Path(config.file).read_bytes()
        except OSError as error:
            raise ConfigError(f"quality.heads.{name}: cannot read {config.file}: {error.strerror}") from error
        if config.file.endswith((".bin", ".ftz")):
            opened.append(_open_fasttext(name, config, raw))
        else:
            opened.append(_open_own(name, config, raw))
    return tuple(opened)


def _open_own(name: str, config: HeadConfig, raw: bytes) -> NgramHead:
    try:
        head = msgspec.msgpack.decode(raw, type=HeadFile)
        weights_H = np.frombuffer(head.weights, np.float32)
    except (ValueError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"quality.heads.{name}: {config.file} is no head: make one with `curatord quality fit`, or name a model of "
            "fastText whose name ends in .bin or .ftz"
        ) from error
    if head.format != FORMAT:
        raise ConfigError(
            f"quality.heads.{name}: {config.file} is a {head.format!r}, and {FORMAT!r} is read: fit it anew"
        )
    if len(weights_H) != BUCKETS or not (np.isfinite(weights_H).all() and math.isfinite(head.bias)):
        raise ConfigError(
            f"quality.heads.{name}: {config.file} is damaged, for it needs {BUCKETS:,} weights and a bias, all finite: "
            "fit it anew"
        )
    return NgramHead(name=name, digest=xxhash.xxh3_64_hexdigest(raw), weights_H=weights_H, bias=head.bias)


def _open_fasttext(name: str, config: HeadConfig, raw: bytes) -> FasttextHead:
    try:
        import fasttext
    except ImportError as error:
        raise ConfigError(
            f"quality.heads.{name}: {config.file} is read by the package fasttext-community, which is not installed: "
            "pip install 'curatord[fasttext]'"
        ) from error
    try:
        model = fasttext.load_model(config.file)
        labels = list(model.labels)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"quality.heads.{name}: {config.file} is no model of fastText: {error}") from error
    if not config.label and len(labels) != 2:
        raise ConfigError(f"quality.heads.{name}: say in `label` which of {', '.join(labels[:20])} is the score")
    if config.label and config.label not in labels:
        raise ConfigError(
            f"quality.heads.{name}: {config.file} has no label {config.label!r}, only {', '.join(labels[:20])}"
        )
    label = config.label or labels[0]
    return FasttextHead(name=name, digest=xxhash.xxh3_64_hexdigest(raw + label.encode()), model=model, label=label)
