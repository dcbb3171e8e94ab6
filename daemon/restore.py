"""Restore: from a state folder, snapshots and the journal to where the lane is; and a way out where that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from consumers.broker import Journal, JournalRecord
from curatord.errors import JournalUnusable, StateAhead, StateError
from daemon.config import Config
from daemon.pipeline import Pipeline
from daemon.signals import StopRequest
from ops.events import Events
from state.epoch import Committed
from state.journal import apply_journalled, journal_position
from state.snapshot import Manifest, Snapshots
from state.store import Store, holds_state

NEW_LANE = (
    "If another process of the lane is ready, let it run until its log says `snapshot_written` (state.snapshot_dir "
    "must be set), then move {state} away and start this one again. If none is, begin a new lane: see "
    "docs/operating.md#new-lane"
)


def open_state(config: Config, events: Events) -> Store:
    """The state; a lost one comes back from the newest snapshot. The journal brings what is missing."""
    folder = Path(config.state.dir)
    snapshots = snapshots_of(config)
    if snapshots is not None and not holds_state(folder):
        taken = snapshots.restore(folder)
        for path, found in snapshots.survey() if taken is None or not snapshots.is_newest(taken) else ():
            if isinstance(found, str):
                events.snapshot_failed(f"the snapshot {path.name} was passed over: {found}")
    return Store(folder)


def snapshots_of(config: Config) -> Snapshots | None:
    """The snapshots of the lane, if it makes any."""
    if not config.state.snapshot_dir:
        return None
    return Snapshots(Path(config.state.snapshot_dir) / config.kafka.lane, own_disk=Path(config.state.dir))


def restore_journalled(
    lane: Journal, committed: Committed | None, store: Store, events: Events, stop: StopRequest
) -> None:
    """Bring the store to the epoch that is committed. Raises as `catch_up`, and `Interrupted` on a request to stop."""

    def tend() -> None:
        events.beat()
        stop.check()

    at = epoch_of(store)
    for record in catch_up(lane, committed, store, tend):
        events.restoring(record.epoch - at, (committed.epoch if committed else at) - at)


def stand_by(
    lane: Journal, store: Store, pipeline: Pipeline, events: Events, stop: StopRequest, tend: Callable[[], None]
) -> None:
    """Follow the owner until the lane is this process's, or a stop was asked for. `tend` is called all the time."""
    has_caught_up = False
    for record in lane.journal(from_offset=journal_position(store), follow=True):
        tend()
        if stop.requested:
            return
        if record is not None:
            take_in(record, store)
            pipeline.follow(record.changes, store)
            events.followed(record.epoch)
        elif not has_caught_up:
            has_caught_up = True
            events.standing_by(epoch_of(store))


def catch_up(
    lane: Journal, committed: Committed | None, store: Store, tend: Callable[[], None] = lambda: None
) -> Iterator[JournalRecord]:
    """Bring the store to the epoch that the world has seen; the epochs, as they are taken in. `tend` as in `stand_by`.

    Raises `StateError` if that cannot be.
    """
    local = store.committed()
    at, end = (known.epoch if known else -1 for known in (local, committed))
    if at > end:
        known = f"the lane is at epoch {end}" if end >= 0 else "the cluster knows nothing of the lane"
        raise StateAhead(
            f"the state in {store.folder} is at epoch {at}, and {known}: it is of another lane (kafka.lane, "
            "kafka.bootstrap_servers), or the cluster lost what was committed",
            end=end,
        )
    for record in lane.journal(from_offset=journal_position(store), follow=False) if at < end else ():
        tend()
        if record is not None:
            take_in(record, store)
            yield record
    if epoch_of(store) < end:
        raise StateError(f"the journal ends at epoch {epoch_of(store)}, but epoch {end} was committed: it lost its end")


def take_in(record: JournalRecord, store: Store) -> None:
    """One epoch of the journal into the store. Raises `StateError` if it is not the next."""
    at = epoch_of(store)
    if at >= 0 and record.epoch != at + 1:
        raise JournalUnusable(f"the journal goes on with epoch {record.epoch}, and the state is at epoch {at}")
    if at < 0 and record.epoch > 1:
        raise JournalUnusable(f"the journal begins at epoch {record.epoch}, and the state is empty")
    apply_journalled(store, record.changes, record.next_offset)


def epoch_of(store: Store) -> int:
    """The last epoch in the store; -1 if there is none."""
    committed = store.committed()
    return -1 if committed is None else committed.epoch


@contextmanager
def explained(config: Config, store: Store) -> Iterator[None]:
    """Add the snapshots at hand and a way out to errors of a journal that cannot be followed."""
    try:
        yield
    except JournalUnusable as error:
        raise StateError(f"{error}. {_way_past_journal(config, epoch_of(store))}") from error
    except StateAhead as error:
        raise StateError(f"{error}. {_way_back(config, error.end)}") from error


def _way_past_journal(config: Config, at: int) -> str:
    """For a state at an epoch from where the journal leads nowhere: a snapshot behind that."""
    found = _survey(config)
    newest = next((manifest for _, manifest in found if isinstance(manifest, Manifest)), None)
    if newest is not None and newest.epoch > at:
        return (
            f"Move {config.state.dir} away and start again: the snapshot of epoch {newest.epoch} is whole, and is "
            "taken instead"
        )
    return f"{_told(config, found, f'is newer than epoch {at} and whole')} {NEW_LANE.format(state=config.state.dir)}"


def _way_back(config: Config, end: int) -> str:
    """For a state that is ahead of its lane: a snapshot that is not, or the journal alone."""
    found = _survey(config)
    usable = [(path, manifest) for path, manifest in found if isinstance(manifest, Manifest)]
    ahead = [path for path, manifest in usable if manifest.epoch > end]
    moved = ", ".join(map(str, (Path(config.state.dir), *ahead)))
    if end < 0:
        return f"If the lane is to begin anew on this cluster, move {moved} away and start again"
    back = next((manifest for _, manifest in usable if manifest.epoch <= end), None)
    source = (
        f"the snapshot of epoch {back.epoch}, and the journal from there"
        if back
        else "the journal, if it was never cut"
    )
    return f"If it is of this lane, move {moved} away and start again: it is made anew from {source}"


def _survey(config: Config) -> list[tuple[Path, Manifest | str]]:
    snapshots = snapshots_of(config)
    return [] if snapshots is None else list(snapshots.survey())


def _told(config: Config, found: list[tuple[Path, Manifest | str]], wanted: str) -> str:
    """That no snapshot helps, and what there is."""
    if not config.state.snapshot_dir:
        return "There are no snapshots (state.snapshot_dir is not set)."
    if not found:
        return f"There is no snapshot in {Path(config.state.snapshot_dir) / config.kafka.lane}."
    listed = "; ".join(
        f"{path.name}: {'whole' if isinstance(manifest, Manifest) else manifest}" for path, manifest in found
    )
    return f"No snapshot {wanted} ({listed})."
