"""The marker of a lane: the metadata of the group's committed offset of the journal, which moves with each commit."""

from __future__ import annotations

import msgspec

from curatord.errors import IdentityError, StateError


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """The last epoch of a lane, and the journal that it is of."""

    e: int  # epoch
    lane: str  # made at the beginning of the journal
    id: str  # identity
    p: int = 0  # partitions of the topic of sequences; 0 where that was not kept yet
    by: str = ""  # the process that committed it


def decode_marker(metadata: str) -> Marker:
    """The marker in the metadata of the journal's committed offset. Raises `StateError` if it is none."""
    try:
        return msgspec.json.decode(metadata, type=Marker)
    except msgspec.DecodeError as error:
        raise StateError(
            f"the group's offset of the journal carries {metadata!r}, which is no marker of curatord: another client "
            "moved it. See docs/operating.md#marker-gone"
        ) from error


def check_partitions(marker: Marker, found: int, *, topic: str, lane: str) -> None:
    """Raise `IdentityError` if the topic of sequences has another number of partitions than the lane began with."""
    if marker.p not in (0, found):
        raise IdentityError(
            f"topic {topic} has {found} partitions, lane {lane} was made with {marker.p}: sequence n lies on partition "
            f"n mod {marker.p}, and readers would look for it elsewhere. Partitions cannot be removed: begin a "
            "new lane, over topics of its own. See docs/operating.md#identity"
        )
