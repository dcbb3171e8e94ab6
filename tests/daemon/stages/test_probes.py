"""The documents that the bandit wants rewards for go out once, with their text."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import msgspec
import pytest

from consumers.memory import CrashPoint, World
from curatord.records import Probe
from daemon.config import Config
from tests.simulation.world import make_config, new_world, outcome, run

NUM_ROWS = 1_700
BANDIT: dict[str, object] = {"enabled": True, "reward": ["rules"], "probe_ratio": 0.05}


def config_of(topic: str = "probes", **daemon: object) -> Config:
    return make_config(bandit=BANDIT, topics={"probes": topic}, probes={"max_tokens": 20}, daemon=daemon)


def curated(config: Config, crashes: dict[int, CrashPoint] | None = None, *, wipes: bool = False) -> World:
    with tempfile.TemporaryDirectory() as folder:
        world = new_world(5, NUM_ROWS, Path(folder))
        run(world, config, Path(folder), crashes=crashes, wipes=wipes)
    return world


@cache
def undisturbed() -> World:
    return curated(config_of())


def test_a_share_of_the_documents_is_asked_for_with_the_beginning_of_their_text() -> None:
    probes = undisturbed().probes
    texts: dict[str, set[str]] = {}
    for row in undisturbed().documents:
        if isinstance(row.value, bytes) and row.value.startswith(b'{"id":"d'):
            document = msgspec.json.decode(row.value)
            texts.setdefault(document["id"], set()).add(document["text"])
    assert 0.03 * NUM_ROWS < len(probes) < 0.06 * NUM_ROWS
    assert len({(probe.doc_id, probe.policy_version) for probe in probes}) > 0.9 * len(probes)
    assert all(any(text.startswith(probe.text.rstrip("�")) for text in texts[probe.doc_id]) for probe in probes)
    assert any(probe.num_tokens > 20 for probe in probes)
    assert len({probe.cluster for probe in probes}) > 2


@pytest.mark.parametrize(("point", "wipes"), [(CrashPoint.BEFORE_COMMIT, False), (CrashPoint.AFTER_COMMIT, True)])
def test_requests_come_once_also_after_crashes(point: CrashPoint, wipes: bool) -> None:
    crashes = dict.fromkeys(range(2, 100), point)
    world = curated(config_of(poll_documents=75, epoch_documents=150), crashes, wipes=wipes)
    assert world.probes == undisturbed().probes


def test_without_a_topic_nothing_is_asked_for_and_nothing_else_changes() -> None:
    silent = curated(config_of(topic=""))
    assert silent.probes == list[Probe]()
    assert outcome(silent) == outcome(undisturbed())
