"""Sources of rewards: the names that `[bandit] reward` may have, and what each is worth by itself.

A source is known of every document when it is read ("rules", "target", a head), or it comes from outside: "progress"
is made of the losses of trainers, any other name is that of a scorer, as its messages on the feedback topic have it.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection

PROGRESS, RULES, SCORER = "progress", "rules", "scorer"
TARGET, ORDER = "target", "target_order"  # the second is no reward of its own
# What a stratum keeps of its tokens where no reward may tell sources apart.
SOURCE_FLOOR = 0.5


def is_damped(reward: Collection[str], heads: Collection[str]) -> bool:
    """Whether progress stands without a source that says what is wanted, so that it is damped as in ADO."""
    return set(reward) <= {PROGRESS, RULES, *heads}


def default_source_floor(reward: Collection[str], heads: Collection[str]) -> float:
    """The least share of a stratum: none where a reward is for an end that the user named."""
    return SOURCE_FLOOR if is_damped(reward, heads) else 0.0


def check_sources(reward: Collection[str], heads: Collection[str], *, has_target: bool) -> None:
    """Raise ValueError for a name that nothing gives rewards under, as far as that can be told."""
    for name in reward:
        if name in (TARGET, ORDER) and not has_target:
            raise ValueError(f"bandit.reward names {name!r}: say in target.files which documents are wanted")
        known = {PROGRESS, RULES, SCORER, TARGET, *heads}
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.75) if name not in known else []
        if near:
            raise ValueError(
                f"bandit.reward = {name!r} is taken for a scorer on the feedback topic; did you mean {near[0]!r}? "
                "A scorer needs a name that is less like it"
            )
