"""Snapshots: whole copies of the state, so that a restore need not read the journal from its beginning."""

from __future__ import annotations

from typing import Annotated

import msgspec


class StateConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[state]: where the service keeps its state. Only the service uses it."""

    dir: str = "curatord-state"
    """Folder of this process's own copy of the state; a lost one is restored from snapshots and the journal."""
    snapshot_dir: str = ""
    """Folder for snapshots, on another disk than `dir`; "" makes none, and the journal is never cut."""
    snapshot_interval_s: Annotated[float, msgspec.Meta(gt=0)] = 3600.0
    """Seconds between snapshots."""
