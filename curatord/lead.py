"""The lead of a topic over training: the older the choice of a sequence, the less it says about the model of now."""

from __future__ import annotations

import logging
from dataclasses import dataclass

log = logging.getLogger("curatord")


@dataclass(slots=True)
class LeadWatch:
    """Warns once when the lead passes its limit, and again after it was below."""

    url: str
    limit: int  # sequences
    is_above: bool = False

    def see(self, lead: int) -> None:
        """Judge the lead of now."""
        if (lead > self.limit) == self.is_above:
            return
        self.is_above = not self.is_above
        if self.is_above:
            log.warning(
                "%s is %d sequences ahead of training, the limit is %d: what is trained on was chosen long ago. "
                "Let the crawler go slower, or skip() ahead on all ranks",
                self.url,
                lead,
                self.limit,
            )
