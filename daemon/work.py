"""The work of a member of a group of workers: step after step, until a stop is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sized
from typing import Protocol

from curatord.errors import BrokerUnavailable
from daemon.signals import StopRequest
from ops.events import Events

LAG_INTERVAL_S = 5.0
RETRY_S = 0.5


class Shared(Protocol):
    """The part of a topic that this member works on."""

    @property
    def partitions(self) -> Sized:
        """Those that it owns."""

    def lag(self) -> Mapping[str, int]:
        """Messages that wait. Raises `BrokerUnavailable`."""

    def rewind(self) -> None:
        """Read again what is not done."""


def work_until_stopped(
    step: Callable[[], None],
    share: Shared,
    stop: StopRequest,
    events: Events,
    *,
    check_config: Callable[[], None],
    is_scorer: bool = False,
) -> None:
    """Take steps with a heartbeat, and measure the lag now and then. A broker that is away is waited for.

    `check_config` is called after a hangup. Raises where a restart repairs nothing.
    """
    measured_at, num_shared = -LAG_INTERVAL_S, -1
    while not stop.requested:
        events.beat()
        if stop.take_hangup():
            check_config()
        try:
            step()
            if time.monotonic() - measured_at >= LAG_INTERVAL_S:
                measured_at = time.monotonic()
                events.lag_measured(share.lag())
                if len(share.partitions) != num_shared:
                    num_shared = len(share.partitions)
                    events.shared(num_shared, scores=is_scorer)
        except BrokerUnavailable as error:
            events.broker_away(str(error))
            share.rewind()
            stop.wait(RETRY_S)
        else:
            events.broker_back()
