"""Snapshots: whole, verified, two of them; a damaged one is passed over."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from curatord.errors import StorageError
from state.journal import apply_journalled, journal_position
from state.snapshot import MANIFEST, Finished, Snapshots
from state.store import Store


def commit(store: Store, epoch: int) -> None:
    """An epoch that ends at ten times its number in the journal."""
    changes = [("meta", b"epoch", str(epoch).encode()), ("meta", b"identity", b"{}"), ("held", b"%d" % epoch, b"v")]
    apply_journalled(store, changes, 10 * epoch)


def snapshot(snapshots: Snapshots, store: Store) -> Finished | StorageError:
    assert snapshots.begin(store)
    while (result := snapshots.finished()) is None:
        time.sleep(0.01)
    return result


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def test_a_lost_state_comes_back_from_the_newest_snapshot(tmp_path: Path, store: Store) -> None:
    snapshots = Snapshots(tmp_path / "snapshots", own_disk=tmp_path)
    for epoch in (1, 2, 3):
        commit(store, epoch)
        assert isinstance(snapshot(snapshots, store), Finished)
    commit(store, 4)
    store.close()

    manifest = Snapshots(tmp_path / "snapshots", own_disk=tmp_path).restore(tmp_path / "again")

    assert manifest is not None
    assert manifest.epoch == 3
    again = Store(tmp_path / "again")
    assert journal_position(again) == 30
    assert [key for key, _ in again.items("held")] == [b"1", b"2", b"3"]
    again.close()
    assert len(list((tmp_path / "snapshots").iterdir())) == 2


def test_the_next_one_is_due_an_interval_after_the_newest_even_after_a_restart(tmp_path: Path, store: Store) -> None:
    snapshots = Snapshots(tmp_path / "snapshots", own_disk=tmp_path)
    assert snapshots.due_in(3600.0) == 0.0
    commit(store, 1)
    snapshot(snapshots, store)

    again = Snapshots(tmp_path / "snapshots", own_disk=tmp_path)
    assert 3500.0 < again.due_in(3600.0) <= 3600.0
    a_day_ago = time.time() - 86_400.0
    os.utime(next((tmp_path / "snapshots").iterdir()) / MANIFEST, (a_day_ago, a_day_ago))
    assert again.due_in(3600.0) == 0.0


@pytest.mark.parametrize("damage", ["content", "manifest", "missing"])
def test_a_damaged_snapshot_is_passed_over(tmp_path: Path, store: Store, damage: str) -> None:
    snapshots = Snapshots(tmp_path / "snapshots", own_disk=tmp_path)
    for epoch in (1, 2):
        commit(store, epoch)
        snapshot(snapshots, store)
    store.close()
    newest = tmp_path / "snapshots" / "epoch-000000000002"
    victim = newest / MANIFEST if damage == "manifest" else max(newest.iterdir(), key=lambda path: path.stat().st_size)
    if damage == "missing":
        victim.unlink()
    else:
        victim.write_bytes(b"X" + victim.read_bytes()[1:])

    manifest = snapshots.restore(tmp_path / "again")

    assert manifest is not None
    assert manifest.epoch == 1


def test_an_unfinished_snapshot_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "snapshots" / "epoch-000000000009.unfinished").mkdir(parents=True)
    assert Snapshots(tmp_path / "snapshots", own_disk=tmp_path).restore(tmp_path / "again") is None


def test_the_journal_is_cut_behind_the_older_of_two_snapshots_on_another_disk(tmp_path: Path, store: Store) -> None:
    with TemporaryDirectory(dir="/dev/shm") as other_disk:
        snapshots = Snapshots(Path(other_disk) / "snapshots", own_disk=tmp_path)
        commit(store, 1)
        first = snapshot(snapshots, store)
        commit(store, 2)
        second = snapshot(snapshots, store)
        assert [isinstance(made, Finished) and made.cut_before for made in (first, second)] == [None, 10]
    store.close()


def test_the_journal_is_never_cut_for_snapshots_on_the_own_disk(tmp_path: Path, store: Store) -> None:
    snapshots = Snapshots(tmp_path / "snapshots", own_disk=tmp_path)
    for epoch in (1, 2):
        commit(store, epoch)
        made = snapshot(snapshots, store)
        assert isinstance(made, Finished)
        assert made.cut_before is None
    store.close()


def test_the_files_of_a_store_are_bounded_for_any_number_of_snapshots(tmp_path: Path) -> None:
    """Keys only grow, and each snapshot writes out what is in memory: a file for each family that changed."""
    open_files = Path("/proc/self/fd")
    before = len(list(open_files.iterdir()))
    store = Store(tmp_path / "state")
    for epoch in range(500):
        key = b"%012d" % epoch
        store.apply([(family, key, os.urandom(300)) for family in ("documents", "held", "assignments", "placements")])
        store.checkpoint(tmp_path / "checkpoint")
        copied = len(list((tmp_path / "checkpoint").iterdir()))
        shutil.rmtree(tmp_path / "checkpoint")

    assert len(list(open_files.iterdir())) - before <= 100
    assert copied <= 100
    store.close()


def test_a_snapshot_that_cannot_begin_is_reported_and_leaves_the_store_alone(tmp_path: Path, store: Store) -> None:
    commit(store, 1)
    blocked = tmp_path / "state.checkpoint"
    blocked.write_text("not a folder")
    snapshots = Snapshots(tmp_path / "snapshots", own_disk=tmp_path)

    assert not snapshots.begin(store)

    assert isinstance(snapshots.finished(), StorageError)
    assert snapshots.finished() is None
    blocked.unlink()
    assert isinstance(snapshot(snapshots, store), Finished)
    commit(store, 2)
    store.close()


def test_a_full_disk_is_reported_and_leaves_the_store_alone(tmp_path: Path, store: Store) -> None:
    commit(store, 1)
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    result = snapshot(Snapshots(blocked / "snapshots", own_disk=tmp_path), store)
    assert isinstance(result, StorageError)
    commit(store, 2)
    store.close()
