"""The side door for probes and Prometheus: /livez, /readyz, /metrics, on a thread of its own.

/livez     200 while the loop moved within `max_batch_s`, else 503. Says nothing about the broker: a restart would not
           bring that back.
/readyz    200 while it owns the lane and works, or stands by and follows; else 503. JSON: status and reason.
/metrics   Prometheus exposition.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from curatord.errors import AddressTaken, ConfigError
from ops.health import Health

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from starlette.applications import Starlette

STOP_TIMEOUT_S: Final = 3.0


class MetricsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[metrics]: where the service answers /metrics, /livez and /readyz."""

    listen: str = "127.0.0.1:9464"
    """host:port to answer on; "0.0.0.0:9464" for every network of the machine, "" for nothing at all."""
    max_batch_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 300.0
    """Seconds without any progress of the loop after which /livez says 503, for the supervisor to restart it."""

    def __post_init__(self) -> None:
        if self.listen:
            self.address  # noqa: B018  # raises

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, colon, port = self.listen.rpartition(":")
        if not (colon and host and port.isascii() and port.isdecimal() and int(port) < 65536):
            raise ValueError(
                f'metrics.listen = {self.listen!r} is not host:port, as in "127.0.0.1:9464" or "[::1]:9464"'
            )
        return host.removeprefix("[").removesuffix("]"), int(port)


@contextmanager
def serving(config: MetricsConfig, health: Health, registry: CollectorRegistry) -> Iterator[str]:
    """Answer for a while; gives the address in use, "" if `listen` is. Signal handlers stay as they are.

    Raises `AddressTaken` if something else answers there, `ConfigError` if the address cannot be had at all.
    """
    if not config.listen:
        yield ""
        return
    import uvicorn

    from ops.http_limits import MAX_HEADER_BYTES, BoundedConnection

    listener = _listen(config)
    host, port = listener.getsockname()[:2]
    server = uvicorn.Server(
        uvicorn.Config(
            application(config, health, registry),
            loop="asyncio",
            http=BoundedConnection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            headers=[("connection", "close")],
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=server.run, args=([listener],), name="curatord-http", daemon=True)
    thread.start()
    try:
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(STOP_TIMEOUT_S)
        listener.close()


def application(config: MetricsConfig, health: Health, registry: CollectorRegistry) -> Starlette:
    """The three answers. They run in the server's own loop, and none waits for anything."""
    from prometheus_client.exposition import choose_encoder
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    async def livez(_: Request) -> Response:
        age_s = health.heartbeat_age_s()
        is_alive = age_s < config.max_batch_s
        return JSONResponse({"alive": is_alive, "heartbeat_age_s": round(age_s, 3)}, 200 if is_alive else 503)

    async def readyz(_: Request) -> Response:
        readiness = health.readiness()
        answer = {"status": readiness.status.value, "reason": readiness.reason}
        return JSONResponse(answer, 200 if readiness.is_ready else 503)

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    return Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)])


def _listen(config: MetricsConfig) -> socket.socket:
    host, port = config.address
    with contextlib.ExitStack() as on_failure:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            listener = on_failure.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressTaken(
                    f"metrics.listen = {config.listen!r}: another process answers there, perhaps a curatord that is "
                    "still draining. Stop it, or choose another port"
                ) from error
            raise ConfigError(
                f"metrics.listen = {config.listen!r} cannot be used: {error.strerror or error}. Name an address "
                'of this machine and a port that this user may open, or "" to answer nowhere'
            ) from error
        on_failure.pop_all()
    return listener
