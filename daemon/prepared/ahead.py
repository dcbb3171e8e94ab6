"""Ahead: rows are polled before they are decided, so that the processes of a pool have work.

The rows come out in the order of the polls, and what is committed is what came out. So many chunks are on their way
that every process has one and finds the next; none is while an earlier life ended over rows that wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass

from consumers.broker import Inbox, RawDocument, row_bytes
from consumers.formats.undecodable import TOOK_PROCESS_DOWN
from curatord.errors import Undecodable
from daemon.prepared.pool import Pool

MAX_BYTES = 256 << 20  # of rows on their way


@dataclass(frozen=True, slots=True)
class _Chunk:
    prepared: Future[list[RawDocument]]
    num_bytes: int
    first: dict[str, int]  # the first position of each source


class Ahead:
    """An inbox behind a pool: polls, ends and passed positions as the loop asks for them.

    `told` hears source and position of a row that was set aside, and why.
    """

    def __init__(self, inbox: Inbox, pool: Pool, chunk_rows: int, told: Callable[[str, int, str], None]) -> None:
        self._inbox = inbox
        self._pool = pool
        self._chunk_rows = chunk_rows
        self._told = told
        self._chunks: deque[_Chunk] = deque()
        self._ready: deque[RawDocument] = deque()

    def poll(self, max_rows: int, timeout_s: float) -> list[RawDocument]:
        """The next rows, prepared, as soon as they are; none after `timeout_s`, or when the input has ended."""
        if self._inbox.attempts.has_suspects:
            return self._inbox.poll(max_rows, timeout_s)
        self._fill(timeout_s)
        if not self._ready and self._chunks:
            try:
                rows = self._chunks[0].prepared.result(timeout_s)
            except NotYet:
                return []
            self._chunks.popleft()
            self._ready.extend(rows)
            self._fill(0.0)
            for row in rows:
                if isinstance(row.value, Undecodable) and row.value.reason == TOOK_PROCESS_DOWN:
                    self._told(row.source, row.position, str(row.value))
        return [self._ready.popleft() for _ in range(min(max_rows, len(self._ready)))]

    def _fill(self, timeout_s: float) -> None:
        """Poll until every process has a chunk and finds another."""
        while len(self._chunks) < 2 * self._pool.processes and sum(c.num_bytes for c in self._chunks) < MAX_BYTES:
            self._inbox.attempts.waiting = self._waiting()
            rows = self._inbox.poll(self._chunk_rows, 0.0 if self.has_rows else timeout_s)
            if not rows:
                return
            self._chunks.append(_Chunk(self._pool.prepare(rows), sum(map(row_bytes, rows)), _first(rows)))

    def _waiting(self) -> dict[str, int]:
        """The first position of each source that has not come out."""
        waiting = _first(self._ready)
        for chunk in self._chunks:
            waiting = chunk.first | waiting
        return waiting

    @property
    def has_rows(self) -> bool:
        """Whether rows are on their way."""
        return bool(self._chunks or self._ready)

    def ended(self) -> bool:
        """Every row there will ever be came out."""
        return not self.has_rows and self._inbox.ended()

    def passed(self) -> dict[str, int]:
        """As the inbox says, which does not know of rows on their way."""
        return {} if self.has_rows else self._inbox.passed()


def _first(rows: Iterable[RawDocument]) -> dict[str, int]:
    """The first position of each source."""
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(row.source, row.position)
    return first
