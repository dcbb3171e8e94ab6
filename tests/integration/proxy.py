"""A TCP proxy between clients and a broker that spoils the network on demand.

Clients stay on it only if the broker names the proxy's address as its own: `MavenBroker` has a listener that does.
Everything that can be spoiled can be combined: `refuse` then `cut` is a broker that is gone, `swallow` of
one direction a partition that only one side has noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from typing import Any, Literal, Self

from tests.integration.maven_broker import MavenBroker

Direction = Literal["up", "down"]  # up: from the client to the broker

SWITCH_TIMEOUT_S = 10
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing sends RST instead of FIN


class Proxy:
    """Listens on 127.0.0.1 from its making to `close`, and passes everything on until told otherwise.

    Every switch has taken effect when its method returns, and may be used from any thread.
    """

    def __init__(self, *, port: int, target_port: int) -> None:
        """Raises OSError if the port is taken."""
        self._port = port
        self._target_port = target_port
        self._delay_s = 0.0
        self._swallowed: frozenset[Direction] = frozenset()
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        started: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(started)), name="proxy", daemon=True)
        self._thread.start()
        started.result(SWITCH_TIMEOUT_S)

    @classmethod
    def before(cls, broker: MavenBroker) -> Self:
        """Where clients of `broker.proxied_bootstrap` look for it."""
        return cls(port=broker.proxy_port, target_port=broker.proxied_port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def num_connections(self) -> int:
        """Connections of clients that stand, at one end at least."""
        return len(self._links)

    def delay(self, delay_s: float) -> None:
        """Everything arrives this much later, in both directions."""
        self._switch(lambda: setattr(self, "_delay_s", delay_s))

    def cut(self) -> None:
        """Resets (RST) the present connections, at both ends; new ones are taken."""
        self._switch(lambda: self._reset(self._links))

    def refuse(self) -> None:
        """Refuses new connections (ECONNREFUSED); present ones live on."""
        self._switch(self._stop_listening)

    def swallow(self, *directions: Direction) -> None:
        """Nothing arrives any more in these directions (both if none is named), not even a close."""
        self._switch(lambda: setattr(self, "_swallowed", frozenset(directions or ("up", "down"))))

    def heal(self) -> None:
        """Passes everything on again. Connections of which something was swallowed are reset."""

        async def heal() -> None:
            self._delay_s = 0.0
            self._swallowed = frozenset()
            self._reset(link for link in self._links if link.has_lost)
            await self._listen()

        self._run(heal())

    def close(self) -> None:
        """Resets every connection and stops listening. May be called twice."""
        if self._thread.is_alive():
            self._switch(self._closing.set)
            self._thread.join(SWITCH_TIMEOUT_S)

    async def _main(self, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        try:
            await self._listen()
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result(None)
        await self._closing.wait()
        self._stop_listening()
        self._reset(self._links)
        await asyncio.sleep(0)  # the transports close their sockets in the loop's next round

    def _switch(self, change: Callable[[], object]) -> None:
        async def switch() -> None:
            change()

        self._run(switch())

    def _run(self, change: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(change, self._loop).result(SWITCH_TIMEOUT_S)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await self._loop.create_server(self._accept, "127.0.0.1", self._port)

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _accept(self) -> _End:
        link = _Link()
        self._links.add(link)
        link.connecting = self._loop.create_task(self._connect(link))
        return _End(self, link, "up")

    async def _connect(self, link: _Link) -> None:
        try:
            await self._loop.create_connection(lambda: _End(self, link, "down"), "127.0.0.1", self._target_port)
        except OSError:  # the broker is down: the client is told so
            self._reset([link])
        else:
            self._deliver(link, "up")

    def carry(self, link: _Link, direction: Direction, data: bytes | None) -> None:
        """Passes data on, or with None the closing of one end, as the switches stand."""
        if direction in self._swallowed:
            link.has_lost = True
            return
        waiting = link.waiting[direction]
        due = self._loop.time() + self._delay_s
        if waiting:
            due = max(due, waiting[-1][0])  # in order, also while the delay shrinks
        waiting.append((due, data))
        if self._delay_s:
            self._loop.call_at(due, self._deliver, link, direction)
        else:
            self._deliver(link, direction)

    def _deliver(self, link: _Link, direction: Direction) -> None:
        end = link.ends.get(direction)
        waiting = link.waiting[direction]
        if end is None:  # not connected yet, or gone
            return
        # The loop's timers may be early by its clock's resolution.
        while waiting and waiting[0][0] <= self._loop.time() + 0.001:
            _, data = waiting.popleft()
            if data is None:
                end.close()
            else:
                end.write(data)
        if waiting:
            self._loop.call_at(waiting[0][0], self._deliver, link, direction)

    def _reset(self, links: Iterable[_Link]) -> None:
        for link in list(links):
            self._links.discard(link)
            link.reset()

    def lost(self, link: _Link) -> None:
        """One end is gone: with the second one, the link is, unless that one is still being made."""
        if not link.ends and (link.connecting is None or link.connecting.done()):
            self._links.discard(link)


class _Link:
    """A client's connection and the one to the broker that was made for it."""

    def __init__(self) -> None:
        self.ends: dict[Direction, asyncio.Transport] = {}  # by the direction in which bytes reach them
        self.waiting: dict[Direction, deque[tuple[float, bytes | None]]] = {"up": deque(), "down": deque()}
        self.has_lost = False
        self.connecting: asyncio.Task[None] | None = None

    def reset(self) -> None:
        if self.connecting is not None and not self.ends.get("up"):
            self.connecting.cancel()
        for transport in self.ends.values():
            with contextlib.suppress(OSError):
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            transport.abort()


class _End(asyncio.Protocol):
    """One end of a link: what it receives is carried in `direction`."""

    def __init__(self, proxy: Proxy, link: _Link, direction: Direction) -> None:
        self._proxy = proxy
        self._link = link
        self._direction: Direction = direction
        self._reached_by: Direction = "down" if direction == "up" else "up"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._link.ends[self._reached_by] = transport

    def data_received(self, data: bytes) -> None:
        self._proxy.carry(self._link, self._direction, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.ends.pop(self._reached_by, None)
        self._proxy.carry(self._link, self._direction, None)
        self._proxy.lost(self._link)
