"""The place of this process among those that train together."""

from __future__ import annotations

import os


def rank_and_world(rank: int | None, world: int | None) -> tuple[int, int]:
    """Of the ranks that train on different data; without both, the only one. Raises ValueError."""
    launched = int(os.environ.get("WORLD_SIZE", "1") or 1)
    if rank is None and world is None:
        if launched > 1:
            raise ValueError(
                f"this is one of {launched} processes (WORLD_SIZE), which would all read the same sequences: give "
                "rank= and world=, those of the ranks that train on different data"
            )
        return 0, 1
    if rank is None or world is None or not 0 <= rank < world:
        raise ValueError(f"rank={rank}, world={world}: give both, with 0 <= rank < world")
    return rank, world
