"""HTTP limits: a connection lives for one request and a few seconds, so that no stranger keeps a probe from its answer.

uvicorn bounds the silence after an answer, but neither the time that a request takes to come nor the number of
connections, other than by refusing the newest. Here the oldest goes.
"""

from __future__ import annotations

import asyncio
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS: Final = 128
MAX_CONNECTION_S: Final = 10.0  # from its beginning to the last byte of the answer; Prometheus waits as long
MAX_HEADER_BYTES: Final = 16 << 10


class BoundedConnection(H11Protocol):
    """A connection that ends after `MAX_CONNECTION_S`, or earlier where more than `MAX_CONNECTIONS` came after it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the time from here on."""
        super().connection_made(transport)
        self._end = self.loop.call_later(MAX_CONNECTION_S, transport.abort)
        while len(self.connections) > MAX_CONNECTIONS:
            oldest = min(
                (other for other in self.connections if isinstance(other, BoundedConnection)),
                key=lambda other: other._end.when(),
            )
            self.connections.discard(oldest)
            oldest.transport.abort()

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client that has said all that it will say is still answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to end."""
        self._end.cancel()
        super().connection_lost(exc)
