"""Tally: outcomes of the rows of one input, for the warnings at the end of a run."""

from __future__ import annotations

import msgspec


class Tally(msgspec.Struct, kw_only=True, array_like=True):
    """Counts over all reading of one input, each with its first example."""

    rows: int = 0
    dead: int = 0
    reason: str = ""  # of the first dead letter
    letter: str = ""  # where it was, and why
    lost_ids: int = 0  # ids that cannot be used; their documents are named by their places
    lost_id: str = ""
    replaced: int = 0  # documents of other inputs that were replaced, for they had the same ids
    replaced_id: str = ""
    replaced_input: str = ""  # where it came from

    def add(self, later: Tally) -> None:
        """Count what came after."""
        if not self.dead:
            self.reason, self.letter = later.reason, later.letter
        if not self.lost_ids:
            self.lost_id = later.lost_id
        if not self.replaced:
            self.replaced_id, self.replaced_input = later.replaced_id, later.replaced_input
        self.rows += later.rows
        self.dead += later.dead
        self.lost_ids += later.lost_ids
        self.replaced += later.replaced
