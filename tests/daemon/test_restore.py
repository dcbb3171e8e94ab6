"""Every failure of a restore says what was found, what is wrong with it, and a way out; each way out is gone here."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from consumers.broker import JournalRecord
from consumers.kafka.connection import KafkaConfig
from consumers.memory import MemoryBroker, World
from curatord.errors import JournalUnusable, StateError
from daemon.config import Config
from daemon.restore import epoch_of, explained, open_state, restore_journalled, snapshots_of
from daemon.signals import StopRequest
from state.epoch import Change
from state.journal import apply_journalled
from state.snapshot import MANIFEST, Finished, StateConfig
from state.store import STATE_FOLDER, Store
from tests.ops.conftest import Process

LAST = 9
SNAPSHOTS = (4, 7)


def changes_of(epoch: int) -> tuple[Change, ...]:
    return (
        ("meta", b"epoch", b"%d" % epoch),
        ("meta", b"identity", b"{}"),
        *(("held", b"%d-%d" % (epoch, number), bytes(300)) for number in range(50)),
    )


@dataclass
class Lane:
    """A lane of nine epochs, with snapshots of two, and a process that starts in it."""

    folder: Path
    world: World = field(default_factory=World)
    process: Process = field(default_factory=Process)
    unreadable: int = -1  # epoch of the journal
    moved: int = 0

    def __post_init__(self) -> None:
        self.state = self.folder / "state"
        self.config = Config(
            kafka=KafkaConfig(lane="web"),
            state=StateConfig(dir=str(self.state), snapshot_dir=str(self.folder / "snapshots")),
        )
        store = Store(self.state)
        for epoch in range(1, LAST + 1):
            record = JournalRecord(epoch=epoch, identity="{}", changes=changes_of(epoch), next_offset=epoch)
            self.world.journal.append(record)
            apply_journalled(store, record.changes, record.next_offset)
            if epoch in SNAPSHOTS:
                self.take_snapshot(store)
        store.close()

    def take_snapshot(self, store: Store) -> None:
        snapshots = snapshots_of(self.config)
        assert snapshots is not None
        assert snapshots.begin(store)
        while (made := snapshots.finished()) is None:
            time.sleep(0.01)
        assert isinstance(made, Finished)

    def snapshot(self, epoch: int) -> Path:
        return self.folder / "snapshots" / "web" / f"epoch-{epoch:012d}"

    def start(self) -> int:
        """The epoch that the state is at after a start."""
        store = open_state(self.config, self.process.events)
        try:
            with explained(self.config, store):
                broker = Broken(self.world, store, self.unreadable)
                restore_journalled(broker, broker.committed(), store, self.process.events, StopRequest())
            assert len(list(store.items("held"))) == 50 * max(0, epoch_of(store))
            return epoch_of(store)
        finally:
            store.close()

    def fails(self) -> str:
        """Messages of a start."""
        with pytest.raises(StateError) as failed:
            self.start()
        assert failed.value.exit_code == 65
        return str(failed.value)

    def follow(self, message: str) -> None:
        """Do what the message says: move away what it names."""
        found = re.search(r"[Mm]ove (.*?) away and start", message)
        assert found is not None, message
        for path in found[1].split(", "):
            self.moved += 1
            shutil.move(path, self.folder / f"moved-{self.moved}")


class Broken(MemoryBroker):
    """A journal of which one epoch cannot be read."""

    def __init__(self, world: World, store: Store, unreadable: int) -> None:
        super().__init__(world, store)
        self._unreadable = unreadable

    def journal(self, *, from_offset: int, follow: bool) -> Iterator[JournalRecord | None]:
        for record in super().journal(from_offset=from_offset, follow=follow):
            if record is not None and record.epoch == self._unreadable:
                raise JournalUnusable("a record of the journal cannot be read: it is damaged")
            yield record


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    return Lane(tmp_path)


def rewind(lane: Lane, epoch: int) -> None:
    """A state of an earlier epoch, as of a process that was away."""
    shutil.rmtree(lane.state)
    store = Store(lane.state)
    for number in range(1, epoch + 1):
        apply_journalled(store, changes_of(number), number)
    store.close()


def spoil(path: Path) -> None:
    path.write_bytes(b"\x00spoiled" + path.read_bytes()[8:])


def test_a_lost_disk_comes_back(lane: Lane) -> None:
    shutil.rmtree(lane.state)
    assert lane.start() == LAST
    assert lane.start() == LAST


def test_a_state_folder_that_is_the_root_of_a_disk_comes_back(lane: Lane) -> None:
    shutil.rmtree(lane.state)
    (lane.state / "lost+found").mkdir(parents=True)
    del lane.world.journal[:4]
    assert lane.start() == LAST


def test_of_two_snapshots_the_older_is_taken_where_the_newer_is_damaged_and_the_log_says_so(lane: Lane) -> None:
    shutil.rmtree(lane.state)
    del lane.world.journal[:4]
    spoil(lane.snapshot(7) / "CURRENT")
    assert lane.start() == LAST
    (line,) = [line for line in lane.process.lines() if line["event"] == "snapshot_failed"]
    assert re.search(r"epoch-000000000007 was passed over: .*CURRENT is not what was written there", line["reason"])


def test_without_a_whole_snapshot_the_journal_alone_is_read(lane: Lane) -> None:
    shutil.rmtree(lane.state)
    spoil(lane.snapshot(4) / "CURRENT")
    spoil(lane.snapshot(7) / MANIFEST)
    assert lane.start() == LAST


def test_both_snapshots_damaged_and_the_disk_wiped_names_both_and_the_way_over_another_process(lane: Lane) -> None:
    other = lane.folder / "other"
    shutil.copytree(lane.state, other)
    shutil.rmtree(lane.state)
    del lane.world.journal[:4]
    spoil(lane.snapshot(4) / "CURRENT")
    (lane.snapshot(7) / "CURRENT").unlink()

    message = lane.fails()

    assert "the journal begins at epoch 5, and the state is empty" in message
    assert re.search(r"epoch-000000000007: .*CURRENT: No such file", message)
    assert re.search(r"epoch-000000000004: .*CURRENT is not what was written there", message)
    assert "snapshot_written" in message
    assert "docs/operating.md#new-lane" in message
    store = Store(other)
    lane.take_snapshot(store)
    store.close()
    lane.follow(message)
    assert lane.start() == LAST


@pytest.mark.parametrize("cause", ["cut", "gap", "unreadable"])
def test_a_state_that_the_journal_left_behind_is_led_to_a_newer_snapshot(lane: Lane, cause: str) -> None:
    rewind(lane, 2)
    if cause == "cut":
        del lane.world.journal[:4]
    elif cause == "gap":
        del lane.world.journal[4]
    else:
        lane.unreadable = 4
    message = lane.fails()
    assert "the snapshot of epoch 7 is whole, and is taken instead" in message
    lane.follow(message)
    assert lane.start() == LAST


def test_a_journal_that_is_unreadable_behind_every_snapshot_is_no_case_for_another_try(lane: Lane) -> None:
    lane.unreadable = 8
    shutil.rmtree(lane.state)
    message = lane.fails()
    assert (
        "No snapshot is newer than epoch 7 and whole (epoch-000000000007: whole; epoch-000000000004: whole)" in message
    )
    assert "docs/operating.md#new-lane" in message


@pytest.mark.parametrize(
    "damage",
    ["CURRENT is spoiled", "CURRENT is missing", "a table is missing", "a table is spoiled", "MANIFEST is spoiled"],
)
def test_a_damaged_state_folder_is_moved_away_and_comes_back(lane: Lane, damage: str) -> None:
    tables = sorted(lane.state.glob("*.sst"), key=lambda path: -path.stat().st_size)
    if damage == "CURRENT is spoiled":
        (lane.state / "CURRENT").write_text("nothing\n")
    elif damage == "CURRENT is missing":
        (lane.state / "CURRENT").unlink()
    elif damage == "a table is missing":
        tables[0].unlink()
    elif damage == "a table is spoiled":
        tables[0].write_bytes(b"\xff" * tables[0].stat().st_size)
    else:
        spoil(next(lane.state.glob("MANIFEST-*")))
    message = lane.fails()
    assert str(lane.state) in message
    lane.follow(message)
    assert lane.start() == LAST


def test_a_state_ahead_of_its_lane_goes_back_to_a_snapshot_that_is_not(lane: Lane) -> None:
    """The cluster came back from an older copy of itself."""
    del lane.world.journal[5:]
    message = lane.fails()
    assert f"the state in {lane.state} is at epoch 9, and the lane is at epoch 5" in message
    assert "the snapshot of epoch 4, and the journal from there" in message
    lane.follow(message)
    assert lane.moved == 2  # the newer snapshot went, too
    assert lane.start() == 5


def test_a_state_on_a_cluster_that_knows_nothing_of_its_lane_may_begin_anew(lane: Lane) -> None:
    lane.world.journal.clear()
    message = lane.fails()
    assert "the cluster knows nothing of the lane" in message
    assert "kafka.lane, kafka.bootstrap_servers" in message
    lane.follow(message)
    assert lane.start() == -1


def test_without_snapshots_the_message_says_so(lane: Lane) -> None:
    lane.config = Config(kafka=KafkaConfig(lane="web"), state=StateConfig(dir=str(lane.state)))
    rewind(lane, 2)
    del lane.world.journal[:4]
    message = lane.fails()
    assert "the journal goes on with epoch 5, and the state is at epoch 2" in message
    assert "There are no snapshots (state.snapshot_dir is not set)" in message


def test_a_damaged_folder_of_curate_is_told_another_way(tmp_path: Path) -> None:
    folder = tmp_path / "output" / STATE_FOLDER / "state"
    store = Store(folder)
    store.apply(changes_of(1))
    store.close()
    (folder / "CURRENT").write_text("nothing\n")
    with pytest.raises(
        StateError, match=f"backup of {tmp_path / 'output'} .* curate the inputs again into another --output"
    ):
        Store(folder)
    Store(tmp_path / "another" / STATE_FOLDER / "state").close()
