"""Facts of weighing: what `explain` tells of a document from, and light to import.

Shape legend: B documents of a tick.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from state.facts import NUMBER, Facts, Family, packed
from state.outcomes import LATER_REASONS, LaterReason


class Weighed(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Fact: what the documents of a tick were weighed by. A weight is the document's own times these over `mean`."""

    doc_nos: bytes  # i64 [B]
    nats: bytes  # f32 [B, 2]: a token, by the longest n-grams and by single tokens; NaN where nothing was measured
    factors: dict[str, bytes]  # f32 [B], by name as in [weights] by
    mean: float  # of the products, by tokens, of late
    turned_away: dict[int, str]  # doc_no to a `LaterReason`


FAMILY = Family("weighed", "what the documents of a tick were weighed by")
WEIGHED = Facts(FAMILY, NUMBER, packed(Weighed))  # by the number of the tick


@dataclass(frozen=True, slots=True, kw_only=True)
class WeighedDocument:
    """One document of it."""

    perplexity: float  # NaN where it was not measured, here and below
    entropy: float  # bits a token
    factors: dict[str, float]
    mean: float
    turned_away: LaterReason | None


def weighed_document(fact: Weighed, doc_no: int) -> WeighedDocument | None:
    """The numbers that a document was weighed by; None if it was not in the tick."""
    (found,) = np.nonzero(np.frombuffer(fact.doc_nos, np.int64) == doc_no)
    if not len(found):
        return None
    row = int(found[0])
    nats = np.frombuffer(fact.nats, np.float32).reshape(-1, 2)[row].astype(np.float64)
    reason = fact.turned_away.get(doc_no)
    return WeighedDocument(
        perplexity=float(np.exp(nats[0])),
        entropy=float(nats[1] / np.log(2)),
        factors={name: float(np.frombuffer(values, np.float32)[row]) for name, values in fact.factors.items()},
        mean=fact.mean,
        turned_away=None if reason is None else LATER_REASONS[reason],
    )
