"""Facts in a dict, as a store has them: what unit tests commit the changes of a stage to and restore it from."""

from __future__ import annotations

from collections.abc import Iterator

from state.epoch import Change, Epoch
from state.fact_table import FactOwner, gather_changes, restore_stages


def changes_of(*stages: FactOwner, epoch: Epoch | None = None) -> list[Change]:
    """Take out what the stages changed since they were last asked, after what the epoch has already."""
    epoch = epoch or Epoch(number=1, identity="{}")
    gather_changes(stages, epoch)
    return list(epoch.changes())


class Kept:
    """The facts after some commits."""

    def __init__(self) -> None:
        self.families: dict[str, dict[bytes, bytes]] = {}

    def commit(self, *stages: FactOwner, epoch: Epoch | None = None) -> list[Change]:
        """Take over what the stages changed, and what the epoch has; the changes."""
        changes = changes_of(*stages, epoch=epoch)
        self.apply(changes)
        return changes

    def apply(self, changes: list[Change]) -> None:
        """Take over changes; nothing that is not there is removed."""
        for family, key, value in changes:
            rows = self.families.setdefault(family, {})
            if value is None:
                del rows[key]
            else:
                rows[key] = value

    def restore(self, *stages: FactOwner) -> None:
        """Bring fresh stages to these facts."""
        restore_stages(stages, self)

    def get(self, family: str, key: bytes) -> bytes | None:
        """One fact."""
        return self.families.get(family, {}).get(key)

    def items(self, family: str, prefix: bytes = b"", start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """The facts whose keys begin so, in order."""
        rows = self.families.get(family, {})
        return ((key, rows[key]) for key in sorted(rows) if key.startswith(prefix) and key >= start)

    def at_or_before(self, family: str, key: bytes) -> tuple[bytes, bytes] | None:
        """The fact with the last key that is not above `key`."""
        rows = self.families.get(family, {})
        found = max((other for other in rows if other <= key), default=None)
        return None if found is None else (found, rows[found])
