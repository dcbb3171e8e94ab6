"""The models that a configuration names: the target and the heads, read from their files once a process.

A target by similarity is none of them: it hangs on vectors, which only the lane has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import msgspec

from curation.quality.heads import open_heads
from curation.quality.models import Model
from curation.selection.target import Target, digest_of, fit_target
from curation.selection.target_vectors import Reference
from curatord.errors import ConfigError
from daemon.config import Config
from daemon.reference_texts import texts_of
from kernels.columns import join_texts
from packing.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """All that score."""

    target: Target | None
    heads: tuple[Model, ...]
    given: tuple[str, ...]  # names of the numbers that documents bring along

    @property
    def all(self) -> tuple[Model, ...]:
        """In the order in which documents have their scores."""
        return (*((self.target,) if self.target is not None else ()), *self.heads)

    @property
    def score_names(self) -> tuple[str, ...]:
        """Of all that a document has beside the rules, in this order."""
        return (*(name for model in self.all for name in model.names), *self.given)

    @property
    def target_scale(self) -> tuple[float, float]:
        """Mean and deviation of the target over the stream's own sample."""
        return (0.0, 1.0) if self.target is None else (self.target.mean, self.target.deviation)

    def digests(self) -> dict[str, str]:
        """Of each, by its name: all that scores hang on."""
        return {model.names[0]: model.digest for model in self.all}


def open_models(config: Config) -> Models:
    """The models; files that change while the process runs are not read again. Raises `ConfigError`."""
    if not _has_model(config) and not config.quality.heads:
        return Models(target=None, heads=(), given=tuple(config.input.fields.numbers()))
    return _opened(msgspec.json.encode(config))


@lru_cache(maxsize=2)
def _opened(encoded: bytes) -> Models:
    config = msgspec.json.decode(encoded, type=Config)
    target = None
    if _has_model(config):
        try:
            target = fit_target(*_texts(config))
        except ValueError as error:
            raise ConfigError(f"[target] {error}") from error
    return Models(target=target, heads=open_heads(config.quality.heads), given=tuple(config.input.fields.numbers()))


def open_reference(config: Config, tokenizer: Tokenizer) -> Reference | None:
    """The documents of a target by similarity; None without one. Raises `ConfigError`."""
    if not config.target.files or _has_model(config):
        return None
    wanted, against = _texts(config)
    try:
        digest = digest_of(wanted, against)
    except ValueError as error:
        raise ConfigError(f"[target] {error}") from error
    tokens = [list(tokenizer.encode_batch(join_texts(texts))) for texts in (wanted, against)]
    return Reference(wanted=tokens[0], against=tokens[1], digest=digest)


def _has_model(config: Config) -> bool:
    """Whether a target is known of a text alone."""
    return bool(config.target.files) and config.target.by == "ngrams"


def _texts(config: Config) -> tuple[list[str], list[str]]:
    """The wanted ones, and those of the stream."""
    names = ("target.files", config.target.files), ("target.against", config.target.against)
    wanted, against = (texts_of(files, config.input, name) for name, files in names)
    return wanted, against
