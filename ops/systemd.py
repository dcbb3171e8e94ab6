"""The service manager's protocol (sd_notify): one datagram, `KEY=value` lines. Without a manager nothing happens."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping


class ServiceManager:
    """Tells systemd how the process is doing. `clock` counts seconds.

    `environment` holds what the manager said: NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID.
    """

    def __init__(
        self, environment: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.monotonic
    ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address  # @: in the abstract namespace
        self._clock = clock
        watched = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog_s = int(environment.get("WATCHDOG_USEC", "0")) / 1e6 if watched else 0.0
        self._told_at = -float("inf")
        self._is_ready = False

    def tell(self, *lines: str) -> None:
        """Send lines; a manager that does not listen is no error."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), self._address)

    def status(self, text: str) -> None:
        """The line that `systemctl status` shows."""
        self.tell(f"STATUS={text}".replace("\n", " "))

    def ready(self, text: str) -> None:
        """The start is over."""
        self.tell(*(() if self._is_ready else ("READY=1",)), f"STATUS={text}".replace("\n", " "))
        self._is_ready = True

    def stopping(self, text: str) -> None:
        """The end has begun."""
        self.tell("STOPPING=1", f"STATUS={text}".replace("\n", " "))

    def beat(self) -> None:
        """The loop moved: feed the watchdog, or ask for more time while still starting. Cheap to call often."""
        now = self._clock()
        interval_s = self._watchdog_s / 3 if self._watchdog_s else 10.0
        if not self._address or now - self._told_at < interval_s:
            return
        self._told_at = now
        if not self._is_ready:
            self.tell("EXTEND_TIMEOUT_USEC=300000000")
        elif self._watchdog_s:
            self.tell("WATCHDOG=1")
