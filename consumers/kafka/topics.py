"""Topics: what they are called, and how each must be made."""

from __future__ import annotations

from typing import Annotated

import msgspec

TopicName = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]


class TopicsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[topics]: names. Only the service uses them."""

    documents: TopicName = "documents"
    """Documents come in here."""
    prepared: Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9._-]{0,249}$")] = ""
    """Documents as `curatord prepare` has prepared them; the lane reads it in place of documents. "" has no workers."""
    sequences: TopicName = "sequences"
    """Packed sequences go out here."""
    verdicts: Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9._-]{0,249}$")] = ""
    """The decision of every document goes out here, in batches; "" writes none."""
    dead_letters: TopicName = "dead-letters"
    """What could not be read goes out here."""
    feedback: Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9._-]{0,249}$")] = "feedback"
    """Losses and rewards come in here; "" reads none."""
    probes: Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9._-]{0,249}$")] = ""
    """Documents for which the bandit wants rewards go out here, to `curatord score`; "" asks for none."""
    journal: TopicName = "journal"
    """The lane's own record of every commit; one partition."""
    artifacts: TopicName = "artifacts"
    """Large parts of the state that the journal refers to; one partition."""

    def __post_init__(self) -> None:
        names = [name for name in msgspec.structs.astuple(self) if name]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"[topics] gives two topics the name {', '.join(map(repr, twice))}: each needs its own")
