"""Probes: the documents for which the bandit wants a reward are told to scorers, with their text.

Quad scores some documents of each cluster, and the bandit says of which cluster it is least certain. On a stream the
score comes later, from another process: the request goes out in the commit of its tick, once, and the reward comes
back as feedback. Without a topic for them, nothing is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from curation.batch import Tick
from curatord.records import Probe
from packing.held import HeldDocuments
from state.epoch import Epoch


class ProbesConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[probes]: requests for rewards, which go to topics.probes."""

    max_tokens: Annotated[int, msgspec.Meta(ge=2, le=65_536)] = 1024
    """Tokens of a document, from its beginning, whose text a request holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """From probed documents of a tick to the epoch's requests."""

    held: HeldDocuments
    decode: Callable[[Sequence[int]], str]
    max_tokens: int  # of each text; 0 asks for none

    def ask(self, tick: Tick, probed_B: NDArray[np.bool_], epoch: Epoch) -> None:
        """Ask for rewards of these documents, all of which are held."""
        if not self.max_tokens:
            return
        rows_P = np.flatnonzero(probed_B)
        doc_nos_P = tick.doc_nos_B[rows_P]
        found = zip(rows_P.tolist(), self.held.ids(doc_nos_P), self.held.tokens(doc_nos_P), strict=True)
        epoch.probes += [
            Probe(
                doc_id=doc_id,
                cluster=int(tick.clusters_B[row]),
                policy_version=tick.policy_version,
                num_tokens=int(tick.num_tokens_B[row]),
                text=self.decode(tokens[: self.max_tokens].tolist()),
                source=tick.sources[row],
            )
            for row, doc_id, tokens in found
        ]
