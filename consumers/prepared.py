"""Coverage: which rows of prepared messages are new, by their places in the input alone.

Workers prepare an input at least once: after a crash, a rebalance or a freeze they send rows again, cut into other
messages. Each message says which positions of its input it covers, so the lane drops what lies below its position,
takes the rest of a message that overlaps it, and refuses a message that begins beyond it, for rows are missing there.
A worker sends a message only when all before it is acknowledged. So no order of deaths leaves a gap; retention does.
"""

from __future__ import annotations

from collections.abc import Callable

from consumers.broker import RawDocument
from consumers.formats.prepared import PreparedMessage
from curatord.errors import StateError


class Coverage:
    """How far each input was taken. `committed` tells the position of one before its first message came."""

    def __init__(self, committed: Callable[[str], int | None]) -> None:
        self._committed = committed
        self._reached: dict[str, int] = {}
        self.num_repeated = 0  # rows that came before

    @property
    def reached(self) -> dict[str, int]:
        """The position after the last one taken, of each input of which a message came."""
        return dict(self._reached)

    def of(self, source: str) -> int | None:
        """The position after the last one taken of an input; None if nothing of it ever came."""
        return self._reached.get(source, self._committed(source))

    def take(self, message: PreparedMessage, source: str, place: str) -> list[RawDocument]:
        """The rows that are new, all of one `source`; `place` is what a refusal names.

        The first message of an input that the lane does not know yet says where that begins. Raises `StateError`.
        """
        covers = message.covers
        if covers is None or covers.input != source or not _are_covered(message):
            said = "no positions" if covers is None else f"{covers.first} to {covers.next} of {covers.input}"
            raise StateError(
                f"{place} says that it covers {said}, and was to hold rows of {source}: it was not sent by "
                "`curatord prepare`, or the topic belongs to another one of documents. See "
                "docs/operating.md#prepared-gap"
            )
        at = self.of(source)
        if at is None:
            at = covers.first
        if covers.first > at:
            raise StateError(
                f"{place} covers {source} from {covers.first:,} on, and it was read up to {at:,}: "
                f"{covers.first - at:,} positions are missing. Retention cut the topic before they were read, or the "
                f"offsets of the workers' group were moved. Nothing is skipped by itself: `curatord prepare --again` "
                "has them prepared once more. See docs/operating.md#prepared-gap"
            )
        rows = [row for row in message.rows if row.position >= at]
        self.num_repeated += len(message.rows) - len(rows)
        self._reached[source] = max(at, covers.next)
        return rows


def _are_covered(message: PreparedMessage) -> bool:
    covers = message.covers
    assert covers is not None
    positions = [row.position for row in message.rows]
    return (
        covers.first <= covers.next
        and all(row.source == covers.input for row in message.rows)
        and positions == sorted(positions)
        and (not positions or (covers.first <= positions[0] and positions[-1] < covers.next))
    )
