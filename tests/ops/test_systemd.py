"""The service manager hears what it needs, over real sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.systemd import ServiceManager
from tests.ops.conftest import Clock


@pytest.fixture(params=["file", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A manager that listens, and NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(5)
        if request.param == "file":
            address = str(tmp_path / "notify")
            receiver.bind(address)
        else:
            address = f"@curatord-test-{os.getpid()}"
            receiver.bind("\0" + address[1:])
        yield receiver, address


def test_it_is_told_status_ready_and_stopping(listener: tuple[socket.socket, str]) -> None:
    receiver, address = listener
    manager = ServiceManager({"NOTIFY_SOCKET": address})

    manager.status("restoring 41 %")
    manager.ready("standing by")
    manager.ready("curating\nnow")
    manager.stopping("draining")

    heard = [receiver.recv(4096).decode() for _ in range(4)]
    assert heard == [
        "STATUS=restoring 41 %",
        "READY=1\nSTATUS=standing by",
        "STATUS=curating now",
        "STOPPING=1\nSTATUS=draining",
    ]


def test_the_watchdog_is_fed_by_beats_but_not_by_each(listener: tuple[socket.socket, str]) -> None:
    receiver, address = listener
    clock = Clock()
    manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"}, clock)
    manager.beat()
    assert receiver.recv(4096) == b"EXTEND_TIMEOUT_USEC=300000000", "a start may take long, as long as it moves"
    manager.ready("ready")
    receiver.recv(4096)

    for _ in range(101):
        clock.now += 0.5
        manager.beat()

    assert [receiver.recv(4096) for _ in range(5)] == [b"WATCHDOG=1"] * 5
    receiver.setblocking(False)
    with pytest.raises(BlockingIOError):
        receiver.recv(4096)


def test_a_watchdog_of_another_process_is_not_fed(listener: tuple[socket.socket, str]) -> None:
    receiver, address = listener
    manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"})
    manager.ready("ready")
    receiver.recv(4096)
    manager.beat()

    receiver.setblocking(False)
    with pytest.raises(BlockingIOError):
        receiver.recv(4096)


def test_without_a_manager_or_with_a_deaf_one_nothing_happens(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "no-socket")}, {"NOTIFY_SOCKET": "@no-socket-here"}):
        manager = ServiceManager(environment)
        manager.status("starting")
        manager.beat()
        manager.ready("ready")
