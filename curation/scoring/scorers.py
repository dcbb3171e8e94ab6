"""Scorers: from texts to rewards, by influence on a reference, by perplexity, or by a function of one's own.

- `influence`: how much a token of the document lowers the loss on the reference, over how much one of the reference
  does: 1 is worth as much as the reference itself, 0 is worth nothing, below it does harm. The unit is the same for
  every checkpoint.
- `perplexity`: the mean loss of a token in nats, negative: the better the model knows a text, the higher.
- `module:function`: called with a list of texts, returns a number for each.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from curation.scoring.checkpoint import Checkpoint
from curation.scoring.influence import Influence
from curatord.errors import ConfigError
from curatord.records import MAX_SCORER_BYTES

INFLUENCE, PERPLEXITY = "influence", "perplexity"
FACTOR_DOCUMENTS = 512  # the latest that were to be scored, which stand for the documents that the model trains on
MAX_TOKENS = 1024  # of a document

Function = Callable[[list[str]], Sequence[float]]
Rewards = dict[str, NDArray[np.float64]]  # by scorer, one a text; NaN where it gave none


def own_function(name: str) -> Function:
    """The function that `module:function` names. Raises `ConfigError`."""
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"--scorer {name!r} is neither {INFLUENCE!r} nor {PERPLEXITY!r}, and no function can be imported by it: "
            f"{error}; write module:function, with the module's folder in PYTHONPATH"
        ) from error
    if not callable(function):
        raise ConfigError(f"--scorer {name!r} is no function: it takes a list of texts and returns a number for each")
    found: Function = function
    return found


class Scorers:
    """All scorers of a worker. `failed` hears of a function of the user's that raised, or gave no numbers.

    Raises `ConfigError` for a name that is no scorer.
    """

    def __init__(
        self, names: Sequence[str], reference: Sequence[str], *, damping: float, failed: Callable[[str, str], None]
    ) -> None:
        self._names, self._reference, self._damping, self._failed = names, reference, damping, failed
        self._functions = {name: own_function(name) for name in names if name not in (INFLUENCE, PERPLEXITY)}
        for name in names:
            if len(name.encode()) > MAX_SCORER_BYTES:
                raise ConfigError(f"--scorer {name!r} has a name of more than {MAX_SCORER_BYTES} bytes")
        if INFLUENCE in names and not any(reference):
            raise ConfigError("influence needs a reference: --reference FILE, with texts on which the loss is to fall")
        self._latest: deque[NDArray[np.int64]] = deque(maxlen=FACTOR_DOCUMENTS)
        self._num_fitted = 0
        self._influence: Influence | None = None
        self.checkpoint: Checkpoint | None = None

    @property
    def version(self) -> int:
        """Of the checkpoint; -1 before the first."""
        return -1 if self.checkpoint is None else self.checkpoint.version

    def refresh(self, checkpoint: Checkpoint) -> None:
        """Go on with a newer checkpoint; factors and reference follow with the next texts."""
        self._influence, self.checkpoint = None, checkpoint
        self._latest.clear()  # tokens of another tokenizer, perhaps
        self._num_fitted = 0

    def score(self, texts: Sequence[str]) -> Rewards:
        """Rewards of some texts by all scorers. Raises `ConfigError` if the tokenizer is not the model's."""
        rewards = {name: self._called(name, function, texts) for name, function in self._functions.items()}
        if self.checkpoint is None or not texts:
            return rewards
        tokens = [self.checkpoint.tokens(text, MAX_TOKENS) for text in texts]
        known = [place for place, ids in enumerate(tokens) if len(ids) >= 2]
        documents = [tokens[place] for place in known]
        of_model = dict.fromkeys(set(self._names) - set(self._functions), np.full(len(texts), np.nan))
        if of_model and documents:
            self._latest += documents
            influence = self._fitted()
            scores_B, losses_B = influence.score(documents)
            for name, values_B in ((INFLUENCE, scores_B / influence.of_reference), (PERPLEXITY, -losses_B)):
                if name in of_model:
                    of_model[name] = np.full(len(texts), np.nan)
                    of_model[name][known] = values_B
        return {**rewards, **of_model}

    def _fitted(self) -> Influence:
        """Factors of the present checkpoint, made anew once twice as many documents are known as they were made of."""
        assert self.checkpoint is not None
        if self._influence is None or len(self._latest) >= 2 * self._num_fitted:
            tokens = [self.checkpoint.tokens(text, MAX_TOKENS) for text in self._reference]
            reference = [ids for ids in tokens if len(ids) >= 2] or list(self._latest)
            self._influence = Influence(self.checkpoint.model, damping=self._damping)
            self._influence.fit([*self._latest, *reference])
            self._influence.aim(reference)
            self._num_fitted = len(self._latest)
        return self._influence

    def _called(self, name: str, function: Function, texts: Sequence[str]) -> NDArray[np.float64]:
        """The numbers of a function of the user's, which may do anything."""
        try:
            values_B = np.array(function(list(texts)), np.float64)
            if values_B.shape != (len(texts),):
                raise ValueError(f"it gave {values_B.shape} numbers for {len(texts)} texts")
        except Exception as error:
            self._failed(name, repr(error))
            return np.full(len(texts), np.nan)
        return values_B
