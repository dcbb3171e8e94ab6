"""On a real broker: a row that takes two owners down is set aside by the third, on any machine."""

from __future__ import annotations

import signal
from pathlib import Path

import msgspec
import pytest

from consumers.broker import RawDocument
from consumers.memory import World
from daemon.config import load_config
from tests.deadly import WORD
from tests.integration.audit import audit, replay
from tests.integration.broker import Broker
from tests.integration.lane import Instance, Lane, run
from tests.integration.torture import SETTINGS, visible_in_pseq, without_new_versions
from tests.integration.world import produce_documents, read_topic, wait_until
from tests.simulation.world import make_rows
from tests.simulation.world import run as run_in_memory

NUM_ROWS = 700
NUM_BEFORE = 512
KILLERS = (550, 620)


@pytest.fixture
def lane(broker: Broker, prefix: str, tmp_path: Path) -> Lane:
    lane = Lane(broker.bootstrap, prefix, tmp_path, SETTINGS.replace("max_wait_s = 45.0", "max_wait_s = 3600.0"))
    lane.create_topics()
    return lane


def deadly(number: int) -> bytes:
    return msgspec.json.encode({"id": f"killer-{number}", "text": f"{WORD} {number} kills"})


def test_each_life_on_a_disk_of_its_own_and_the_third_sets_the_documents_aside(lane: Lane, tmp_path: Path) -> None:
    rows = without_new_versions([row.value for row in make_rows(7, NUM_ROWS) if isinstance(row.value, bytes)])
    for at in KILLERS:
        rows[at] = deadly(at)
    owner = Instance(lane, "a", lane.bootstrap, ("tests.deadly", "kill"))
    owner.start()
    produce_documents(lane.bootstrap, lane.topics["documents"], rows[:NUM_BEFORE], partition=0)
    # A state with a student is restored without the teacher, so that later lives begin soon.
    owner.wait_for("student_trained")
    produce_documents(lane.bootstrap, lane.topics["documents"], rows[NUM_BEFORE:], partition=0)

    for _ in range(2):
        assert owner.wait() == -signal.SIGKILL
        owner.wipe()
        owner.start()
    wait_until(lambda: rows_read(lane) == len(rows), "every row")
    assert owner.stop() == 0

    found = audit(lane, len(rows))
    assert found.anomalies == []
    assert found.journal.ledger.dead["took_process_down"] == len(KILLERS)
    assert [event["position"] for event in owner.events("set_aside")] == list(KILLERS)
    assert all(event["how"] == "signal 9 (SIGKILL)" for event in owner.events("set_aside"))
    assert [visible_in_pseq(sequence) for sequence in found.sequences] == undisturbed(lane, rows, tmp_path)
    config = lane.config("a", lane.bootstrap)
    listed = run("dead-letters", "list", "-c", config, "--reason", "took_process_down")
    assert "signal 9" in listed.output
    replayed = run("dead-letters", "replay", "-c", config, "--reason", "took_process_down", "--dry-run")
    assert f"took_process_down {len(KILLERS)}; 0 refused" in replayed.output


def rows_read(lane: Lane) -> int:
    return replay(read_topic(lane.bootstrap, lane.topics["journal"])).ledger.rows_read


def undisturbed(lane: Lane, rows: list[bytes], folder: Path) -> list[tuple[object, ...]]:
    """The sequences where these rows cannot be read."""
    values = [b"{" if at in KILLERS else row for at, row in enumerate(rows)]
    source = f"{lane.topics['documents']}-0"
    world = World(documents=[RawDocument(source, at, value) for at, value in enumerate(values)])
    run_in_memory(world, load_config(lane.config("undisturbed", lane.bootstrap)), folder / "undisturbed", flush=False)
    return [visible_in_pseq(sequence) for sequence in world.sequences]
