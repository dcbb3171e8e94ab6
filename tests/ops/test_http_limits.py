"""Probes are answered in spite of strangers at the same port."""

from __future__ import annotations

import json
import re
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

import ops.http_limits
from ops.http_limits import MAX_CONNECTIONS, MAX_HEADER_BYTES
from ops.server import MetricsConfig, serving
from tests.ops.conftest import Process


@contextmanager
def served(process: Process) -> Iterator[tuple[str, int]]:
    with serving(MetricsConfig(listen="127.0.0.1:0"), process.health, process.metrics.registry) as url:
        host, port = url.removeprefix("http://").split(":")
        yield host, int(port)


def probes_answer(address: tuple[str, int]) -> None:
    """As Kubernetes asks: within seconds."""
    for path in ("livez", "metrics"):
        with urllib.request.urlopen(f"http://{address[0]}:{address[1]}/{path}", timeout=5) as answer:
            assert answer.status == 200
            assert answer.read()


def exchange(address: tuple[str, int], request: bytes, *, half_close: bool = False) -> bytes:
    """All that comes back until the server closes."""
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(request)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while block := connection.recv(1 << 16):
                received += block
        except ConnectionResetError:  # it closed with bytes of ours unread
            pass
    return received


def say(words: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(words)


STRANGERS = {
    "idle": say(b""),
    "header unfinished": say(b"GET /livez HTTP/1.1\r\nX-Slow: "),
    "body unfinished": say(b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc"),
    "metrics unread": say(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
    "TLS": say(bytes.fromhex("16030100a5010000a10303") + bytes(100)),
    "half closed": lambda connection: connection.shutdown(socket.SHUT_WR),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_500_connections_of_strangers_do_not_keep_probes_from_their_answer(process: Process, kind: str) -> None:
    with served(process) as address, ExitStack() as strangers:
        for _ in range(500):
            stranger = strangers.enter_context(socket.socket())
            if kind == "metrics unread":
                stranger.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            stranger.connect(address)
            with suppress(OSError):  # the older are closed for the newer
                STRANGERS[kind](stranger)
        probes_answer(address)


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(10)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_old_connections_are_closed_for_new_ones(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops.http_limits, "MAX_CONNECTION_S", 3600.0)
    with served(process) as address, ExitStack() as opened:
        connections = [opened.enter_context(socket.create_connection(address)) for _ in range(MAX_CONNECTIONS + 50)]
        probes_answer(address)
        assert is_closed(connections[0])


@pytest.mark.parametrize("byte_every_s", [None, 0.05])
def test_a_request_that_does_not_come_to_its_end_is_given_up(
    process: Process, monkeypatch: pytest.MonkeyPatch, byte_every_s: float | None
) -> None:
    """However often another byte comes."""
    monkeypatch.setattr(ops.http_limits, "MAX_CONNECTION_S", 0.5)
    over = threading.Event()
    with served(process) as address, socket.create_connection(address, timeout=10) as slow:

        def drip() -> None:
            while not over.wait(byte_every_s or 0.01):
                try:
                    slow.sendall(b"x" if byte_every_s else b"")
                except OSError:
                    return

        slow.sendall(b"GET /livez HTTP/1.1\r\nX-Slow: ")
        dripping = threading.Thread(target=drip)
        dripping.start()
        gave_up = is_closed(slow)
        over.set()
        dripping.join()
    assert gave_up


def test_a_connection_carries_one_request(process: Process) -> None:
    """Or one stranger could have the exposition made a thousand times."""
    with served(process) as address:
        answers = exchange(address, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
    assert answers.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in answers.lower()


@pytest.mark.parametrize(
    ("request_line", "status"),
    [(b"HEAD /livez", 200), (b"POST /livez", 405), (b"DELETE /metrics", 405), (b"GET /nothing", 404)],
)
def test_other_methods_get_their_answer(process: Process, request_line: bytes, status: int) -> None:
    with served(process) as address:
        answer = exchange(address, request_line + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    found = re.match(rb"HTTP/1.1 (\d+)", answer)
    assert found is not None
    assert int(found[1]) == status
    assert request_line.startswith(b"HEAD") <= answer.endswith(b"\r\n\r\n")


def test_headers_without_end_are_refused(process: Process) -> None:
    with served(process) as address:
        answer = exchange(address, b"GET /livez HTTP/1.1\r\nX-Huge: " + b"x" * (2 * MAX_HEADER_BYTES))
        probes_answer(address)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")


def test_a_client_that_closes_its_side_is_answered(process: Process) -> None:
    with served(process) as address:
        answer = exchange(address, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", half_close=True)
    assert json.loads(answer.split(b"\r\n\r\n")[1])["alive"] is True
