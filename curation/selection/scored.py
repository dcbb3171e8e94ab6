"""Scored: how much a reward counts that a scorer gave with a checkpoint: once, and less the older its checkpoint is.

A worker that dies sends again, so that a document's reward by one checkpoint of one scorer counts once. While a worker
scores, the model goes on: a reward by an older checkpoint than the newest one heard weighs half for every checkpoint
between. And the stream goes on: had the reward come with its document, the bandit would have faded it since, so it
weighs what it would then weigh. Rewards that name no checkpoint count as they are, each time.
"""

from __future__ import annotations

from state.fact_table import FactOwner, FactTable, Table
from state.facts import NUMBER, NUMBERS, TEXT, Facts, Family, packed

OLDER = 0.5  # weight of a reward for every newer checkpoint that its scorer was heard with
MAX_CHECKPOINTS = 8  # remembered of each scorer; a reward by an older one is late
MAX_SCORERS = 64  # the rest is one
MAX_DOCUMENTS = 1 << 15  # remembered, of all scorers; of the oldest quarter nothing is known any more

_FAMILY = Family("scored", "which rewards of scorers counted, and by which checkpoints")
_CHECKPOINTS = Facts(_FAMILY, TEXT, packed(list[int]), prefix=b"c")  # by scorer, the newest first
_DOCUMENTS = Facts(_FAMILY, NUMBERS, NUMBER, prefix=b"d")  # by doc_no and number of the scorer: checkpoint
_NUMBERS = Facts(_FAMILY, TEXT, NUMBER, prefix=b"n")  # of scorers


class Scored(FactOwner):
    """Checkpoints by scorer, and the newest one by which each of the latest documents was scored."""

    def __init__(self) -> None:
        self._checkpoints = FactTable(_CHECKPOINTS)
        self._documents = FactTable(_DOCUMENTS)
        self._numbers = FactTable(_NUMBERS)

    def tables(self) -> tuple[Table, ...]:
        """All three."""
        return self._checkpoints, self._documents, self._numbers

    def weigh(self, scorer: str, checkpoint: int, doc_no: int | None) -> tuple[str, float]:
        """Take note of a reward for a document, or for a cluster: the outcome, and how much it counts.

        The outcome is "learned", "duplicate", or "late": by a checkpoint that is forgotten, or older than the one by
        which the document was scored already.
        """
        known = self._checkpoints.get(scorer, [])
        if checkpoint not in known:
            known = sorted((checkpoint, *known), reverse=True)[:MAX_CHECKPOINTS]
            if checkpoint not in known:
                return "late", 0.0
            self._checkpoints[scorer] = known
        if doc_no is not None:
            key = doc_no, self._numbers.setdefault(scorer, min(len(self._numbers), MAX_SCORERS))
            before = self._documents.get(key, -1)
            if checkpoint <= before:
                return ("duplicate" if checkpoint == before else "late"), 0.0
            self._documents[key] = checkpoint
            self._forget()
        return "learned", OLDER ** known.index(checkpoint)

    def _forget(self) -> None:
        if len(self._documents) > MAX_DOCUMENTS:
            for key in sorted(self._documents)[: MAX_DOCUMENTS // 4]:
                del self._documents[key]
