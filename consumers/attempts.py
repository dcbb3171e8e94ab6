"""Attempts: the places that this process is about to work on, written down where its successor finds them.

A process that is killed leaves no word. So the places of rows are written down before anything is done with them, and
places still open when the next life begins are those over which the life before ended. Places with two such ends behind
them are tried in a process of their own first (`consumers.trial`), and the row that ends that one is set aside.

A broker keeps the mark: in a file beside the state, or in the group, for the next owner. On the way of healthy rows it
costs next to nothing: one covers the next `AHEAD` places of a source, and is renewed before they are used up, so that
only the first rows wait for it. A kill loses no mark; a loss of power may, and then that end does not count.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

FATAL = 2  # lives that ended over a place, after which it is not trusted
AHEAD = 1024
MAX_SOURCES = 256  # that are open together
MAX_SUSPECTS = 256
MAX_MARK_BYTES = 4000  # a broker takes 4,096 characters unless told otherwise
MAX_ENDED_CHARACTERS = 300

Place = tuple[str, int, int | None]  # source, position, index in a message that holds many


class Stretch(msgspec.Struct, frozen=True, array_like=True):
    """Places of one source that were open together."""

    source: str
    first: int
    end: int
    deaths: int = 0  # lives that ended over it before
    is_open: bool = False


class Single(msgspec.Struct, frozen=True, array_like=True):
    """One row that was taken by itself."""

    source: str
    position: int
    index: int | None
    deaths: int = 0
    is_open: bool = False


class _Mark(msgspec.Struct, frozen=True, array_like=True):
    """The content of a mark."""

    stretches: list[Stretch] = []
    singles: list[Single] = []
    ended: str = ""  # the exception that ended the life, if it could say so


class Keep(Protocol):
    """Writes a mark down; with `wait` it is there on return. Never raises: work does not depend on it."""

    def __call__(self, mark: bytes, *, wait: bool) -> None:
        """Write it, in place of the one before."""


def _forget(mark: bytes, *, wait: bool) -> None:
    """There is no successor."""


class Attempts:
    """Places over which earlier lives ended, and those of this one. `left` is the mark of the life before.

    Of `sources` alone, where they are named, this life reads anything.
    """

    def __init__(self, keep: Keep = _forget, left: bytes = b"", sources: frozenset[str] | None = None) -> None:
        self._keep = keep
        self._sources = sources
        mark = _decode(left)
        self.cut_short = tuple(stretch for stretch in mark.stretches if stretch.is_open)
        self.ended = mark.ended  # how the life before ended, if it could say so
        self._suspects: dict[str, list[Stretch]] = {}
        for stretch in mark.stretches:
            deaths = stretch.deaths + stretch.is_open
            if deaths:
                known = msgspec.structs.replace(stretch, deaths=deaths, is_open=False)
                self._suspects.setdefault(stretch.source, []).append(known)
        self._singles: dict[Place, int] = {}
        for single in mark.singles:
            if single.deaths + single.is_open:
                self._singles[single.source, single.position, single.index] = single.deaths + single.is_open
        self._open: dict[str, tuple[int, int]] = {}
        self.deaths = 0  # lives that ended over the places that were begun last
        self._is_written = bool(left)
        self.waiting: Mapping[str, int] = {}  # the first position by source that was begun and is still to be worked on

    @property
    def has_suspects(self) -> bool:
        """Whether a life ended over something that is to be read, and not committed yet."""
        return bool(self._suspects) if self._sources is None else not self._sources.isdisjoint(self._suspects)

    def begin(self, places: Sequence[tuple[str, int]]) -> int:
        """Write (source, position) down, in the order of the work; how many of them are to be taken together.

        Places with another number of ends behind them are not taken with these. `deaths` is that of those taken.
        """
        num, deaths = len(places), 0
        if self._suspects and places:
            each = [self._deaths_of(source, position) for source, position in places]
            deaths = each[0]
            num = next((at for at, other in enumerate(each) if other != deaths), num)
        taken = places[:num]
        if deaths:
            self._open = _joined({}, taken, ahead=0)
            self.deaths = deaths
            self._write(wait=True)
        elif taken:
            self._extend(taken)
        return num

    def _extend(self, places: Sequence[tuple[str, int]]) -> None:
        """See that healthy places are covered, and those that come next."""
        if self.deaths:
            self._open, self.deaths = {}, 0
        is_covered, is_low = True, False
        for source, position in places:
            first, end = self._open.get(source, (0, 0))
            is_covered = is_covered and first <= position < end
            is_low = is_low or end - position < AHEAD // 2
        if is_covered and not is_low:
            return
        renewed = _joined({}, places, ahead=AHEAD)
        for source in renewed.keys() & self.waiting.keys():
            first, end = renewed[source]
            renewed[source] = min(first, self.waiting[source]), end
        self._open = self._open | renewed if len(self._open | renewed) <= MAX_SOURCES else renewed
        self._write(wait=not is_covered)

    def _deaths_of(self, source: str, position: int) -> int:
        stretches = self._suspects.get(source, ())
        return max((known.deaths for known in stretches if known.first <= position < known.end), default=0)

    def ended_at(self, place: Place) -> int:
        """Lives that ended while this row was taken by itself."""
        return self._singles.get(place, 0)

    def single_out(self, place: Place, *, wait: bool = True) -> None:
        """Write down that this row is taken by itself now."""
        self._write(place, wait=wait)

    def settle(self) -> None:
        """Close the places that were begun, as their rows are done: an end that comes now is not theirs."""
        self._open = {}
        self._write(wait=True)

    def committed(self, positions: Mapping[str, int]) -> None:
        """Forget the ends of places before these positions, which are committed and never read again.

        Places whose rows still wait keep their ends.
        """
        if not self._suspects and not self._singles:
            return
        for source, end in positions.items():
            left = [known for known in self._suspects.pop(source, ()) if known.end > end]
            if left:
                self._suspects[source] = left
        self._singles = {
            place: deaths for place, deaths in self._singles.items() if place[1] >= positions.get(place[0], 0)
        }

    def died(self, error: BaseException) -> None:
        """The life ends over what is open, by this exception."""
        self._write(wait=True, ended=f"{type(error).__name__}: {error}"[:MAX_ENDED_CHARACTERS])

    def close(self) -> None:
        """The life ends for a reason of its own."""
        if self._is_written:
            self.settle()

    def _write(self, place: Place | None = None, *, wait: bool, ended: str = "") -> None:
        stretches = [known for stretches in self._suspects.values() for known in stretches][-MAX_SUSPECTS:]
        stretches += [Stretch(source, *bounds, self.deaths, True) for source, bounds in self._open.items()]
        singles = [Single(*known, deaths, known == place) for known, deaths in self._singles.items()]
        if place is not None and place not in self._singles:
            singles.append(Single(*place, is_open=True))
        self._is_written = True
        self._keep(_encode(stretches, singles, ended), wait=wait)


def _joined(
    opened: dict[str, tuple[int, int]], places: Iterable[tuple[str, int]], *, ahead: int
) -> dict[str, tuple[int, int]]:
    """From the first to the last place of each source, and `ahead` places at least."""
    for source, position in places:
        first, end = opened.get(source, (position, position + ahead))
        opened[source] = min(first, position), max(end, position + 1)
    return opened


def _encode(stretches: list[Stretch], singles: list[Single], ended: str) -> bytes:
    """The mark, without its oldest suspects where it would be too large."""
    while True:
        packed = zlib.compress(msgspec.msgpack.encode(_Mark(stretches, singles[-MAX_SUSPECTS:], ended)), 1)
        mark = base64.b64encode(packed) + b"\n"
        if len(mark) <= MAX_MARK_BYTES or len(stretches) <= 1:
            return mark
        stretches = stretches[len(stretches) // 2 :]


def _decode(left: bytes) -> _Mark:
    """The mark; an empty one where there is none that can be read, as after a loss of power."""
    try:
        return msgspec.msgpack.decode(zlib.decompress(base64.b64decode(left.partition(b"\n")[0])), type=_Mark)
    except (ValueError, zlib.error):  # a DecodeError is a ValueError, so is bad base64
        return _Mark()
