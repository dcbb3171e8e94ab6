"""The models that a configuration names: the target and the heads, read from their files once a process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import msgspec

from curation.quality.heads import open_heads
from curation.quality.models import Model
from curation.selection.target import Target, fit_target
from curatord.errors import ConfigError
from daemon.config import Config
from daemon.reference_texts import texts_of


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
    if not config.target.files and not config.quality.heads:
        return Models(target=None, heads=(), given=tuple(config.input.fields.numbers()))
    return _opened(msgspec.json.encode(config))


@lru_cache(maxsize=2)
def _opened(encoded: bytes) -> Models:
    config = msgspec.json.decode(encoded, type=Config)
    target = None
    if config.target.files:
        wanted = texts_of(config.target.files, config.input, "target.files")
        against = texts_of(config.target.against, config.input, "target.against")
        try:
            target = fit_target(wanted, against)
        except ValueError as error:
            raise ConfigError(f"[target] {error}") from error
    return Models(target=target, heads=open_heads(config.quality.heads), given=tuple(config.input.fields.numbers()))
