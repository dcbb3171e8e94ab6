"""Health: probes see the state of the process, and an outage of the broker beside it."""

from __future__ import annotations

import pytest

from ops.health import READY_STATUSES, Health, Status


@pytest.mark.parametrize("status", Status)
def test_an_owner_and_a_standby_are_ready_and_nothing_else_is(status: Status) -> None:
    health = Health()

    health.become(status)

    assert health.readiness().is_ready == (status in READY_STATUSES)
    assert health.readiness().reason == status.value.replace("_", " ")


def test_an_outage_stays_over_a_change_of_state_and_is_new_once() -> None:
    health = Health()
    health.become(Status.READY)

    assert health.broker_away("no leader")
    assert not health.broker_away("still none")
    health.become(Status.STANDBY)

    assert health.readiness().status is Status.BROKER_AWAY
    assert health.readiness().reason == "the broker is away: still none"
    assert health.broker_back()
    assert not health.broker_back()
    assert health.readiness().status is Status.STANDBY


def test_a_process_that_drains_says_so_without_a_broker_too() -> None:
    health = Health()
    health.broker_away("no leader")

    health.become(Status.DRAINING, "asked to stop")

    assert (health.readiness().status, health.readiness().reason) == (Status.DRAINING, "asked to stop")


def test_the_age_of_the_heartbeat_counts_from_the_last_beat_or_change_of_state() -> None:
    now = 100.0
    health = Health(clock=lambda: now)
    now = 130.0
    assert health.heartbeat_age_s() == 30.0
    health.beat()
    assert health.heartbeat_age_s() == 0.0
    now = 131.0
    health.become(Status.RESTORING)
    assert health.heartbeat_age_s() == 0.0
