"""The probes and /metrics, asked over real connections."""

from __future__ import annotations

import json
import signal
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError

import pytest
from prometheus_client.parser import text_string_to_metric_families

from curatord.errors import AddressTaken, ConfigError
from ops.health import Status
from ops.server import MetricsConfig, serving
from tests.ops.conftest import Process


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


@contextmanager
def served(process: Process, **options: object) -> Iterator[str]:
    config = MetricsConfig(**({"listen": "127.0.0.1:0"} | options))  # type: ignore[arg-type]
    with serving(config, process.health, process.metrics.registry) as url:
        yield url


def test_alive_while_the_loop_moves(process: Process) -> None:
    with served(process, max_batch_s=60.0) as url:
        assert get(f"{url}/livez")[0] == 200
        process.clock.now += 61
        status, body = get(f"{url}/livez")
        assert (status, json.loads(body)) == (503, {"alive": False, "heartbeat_age_s": 61.0})
        process.events.beat()
        assert get(f"{url}/livez")[0] == 200


def test_ready_says_why_not(process: Process) -> None:
    with served(process) as url:
        status, body = get(f"{url}/readyz")
        assert (status, json.loads(body)["status"]) == (503, "connecting")
        process.events.restoring(41, 100)
        status, body = get(f"{url}/readyz")
        assert status == 503
        assert json.loads(body) == {"status": "restoring", "reason": "restoring 41 % (41 of 100 epochs)"}
        for status_now, code in ((Status.STANDBY, 200), (Status.TAKING_OVER, 503), (Status.READY, 200)):
            process.health.become(status_now)
            assert get(f"{url}/readyz")[0] == code, status_now


def test_metrics_are_an_exposition_that_prometheus_reads(process: Process) -> None:
    process.metrics.add("documents_total", 3, "accepted")
    with served(process) as url:
        status, body = get(f"{url}/metrics")

    assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(body)}
    assert families["curatord_documents"].samples[0].value == 3
    assert "process_resident_memory_bytes" in families


def test_other_paths_are_not_found(process: Process) -> None:
    with served(process) as url:
        assert get(f"{url}/config")[0] == 404


def test_an_empty_address_answers_nowhere(process: Process) -> None:
    before = threading.active_count()
    with served(process, listen="") as url:
        assert url == ""
        assert threading.active_count() == before


def test_the_signal_handlers_stay_and_the_thread_ends(process: Process) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with served(process) as url:
        get(f"{url}/livez")
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
        names = [thread.name for thread in threading.enumerate()]
        assert "curatord-http" in names

    assert "curatord-http" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(OSError, match="refused"):
        get(f"{url}/livez")


def test_a_connection_that_is_left_open_does_not_hold_up_the_end(process: Process) -> None:
    with served(process) as url:
        host, port = url.removeprefix("http://").split(":")
        idle = socket.create_connection((host, int(port)))
        idle.sendall(b"GET /livez HTTP/1.1\r\n")

    idle.close()
    assert "curatord-http" not in [thread.name for thread in threading.enumerate()]


def test_the_port_can_be_had_again_at_once(process: Process) -> None:
    with served(process) as url:
        get(f"{url}/livez")
    with served(process, listen=url.removeprefix("http://")) as again:
        assert get(f"{again}/livez")[0] == 200


def test_a_port_in_use_is_said_plainly_and_may_be_tried_again(process: Process) -> None:
    with (
        served(process) as url,
        pytest.raises(AddressTaken, match="another process answers there") as caught,
        served(process, listen=url.removeprefix("http://")),
    ):
        pass

    assert caught.value.exit_code == 69


@pytest.mark.parametrize("listen", ["203.0.113.7:9464", "no.such.host.invalid:9464"])
def test_an_address_of_another_machine_is_a_mistake_of_the_configuration(process: Process, listen: str) -> None:
    with pytest.raises(ConfigError, match=r"metrics\.listen"), served(process, listen=listen):
        pass


@pytest.mark.parametrize("listen", ["9464", "localhost", ":9464", "localhost:99999", "localhost:-1", "a:b"])
def test_an_address_that_is_none_is_refused(listen: str) -> None:
    with pytest.raises(ValueError, match=r"metrics\.listen"):
        MetricsConfig(listen=listen)


def test_addresses_of_both_kinds_are_understood() -> None:
    assert MetricsConfig(listen="[::1]:9464").address == ("::1", 9464)
    assert MetricsConfig(listen="0.0.0.0:80").address == ("0.0.0.0", 80)
