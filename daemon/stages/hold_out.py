"""Hold out: a share of the documents, chosen by their ids, goes to held-out shards as text, and never to training."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from consumers.formats.documents import Documents
from state.chance import draw_unit
from state.epoch import Epoch, Holdout
from state.fact_table import FactCell, FactOwner, FactTable, Table
from state.facts import DECIMAL, NUMBER, Facts, Family, packed, single

SHARD_DOCUMENTS = 1024

_HOLDOUT = Facts(Family("holdout", "a held-out document whose file is not full"), NUMBER, packed(Holdout))
_NEXT_HOLDOUT = single("next_holdout", DECIMAL)


@dataclass(slots=True)
class HoldOut(FactOwner):
    """The held-out documents of the shard that is not full."""

    share: float
    seed: int
    _open: FactTable[int, Holdout] = field(default_factory=lambda: FactTable(_HOLDOUT))
    _next: FactCell[int] = field(default_factory=lambda: FactCell(_NEXT_HOLDOUT, 0))

    def __len__(self) -> int:
        return len(self._open)

    def tables(self) -> tuple[Table, ...]:
        """The held-out documents, and the number of the next."""
        return self._open, self._next

    def chosen(self, keys_B: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which documents are held out, by the hashes of their ids."""
        if not self.share:
            return np.zeros(len(keys_B), np.bool_)
        return np.asarray(draw_unit(keys_B, seed=self.seed, purpose="holdout") < self.share)

    def keep(self, documents: Documents, row: int, epoch: Epoch) -> None:
        """Keep a document away. The shard goes into the epoch when it is full."""
        number = self._next.value
        self._next.value += 1
        self._open[number] = Holdout(
            number=number,
            doc_id=documents.ids[row],
            source=documents.sources[row],
            url=documents.urls[row],
            text=documents.texts[row],
        )
        if len(self._open) == SHARD_DOCUMENTS:
            self.flush(epoch)

    def flush(self, epoch: Epoch) -> None:
        """Write the open shard."""
        if self._open:
            epoch.holdouts.append(list(self._open.values()))
            self._open.clear()

    def withdraw(self, doc_id: str) -> None:
        """A document was retracted."""
        for number in [number for number, holdout in self._open.items() if holdout.doc_id == doc_id]:
            del self._open[number]
