"""A small world to run the real pipeline in: real documents, a state that is warm, and a pipeline over it."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from consumers.broker import RawDocument
from consumers.memory import Crash, CrashPoint, MemoryBroker, World
from curatord.records import Retraction
from curatord.sequence import EndOfStream, PackedSequence
from daemon.app import build, encode_identity
from daemon.config import Config, parse_config
from daemon.loop import Hooks, Loop
from daemon.pipeline import Pipeline
from daemon.prepared.pool import Pool
from daemon.restore import catch_up, take_in
from daemon.signals import StopRequest
from packing.tokenizer import Tokenizer, TokenizerConfig, open_tokenizer
from state.journal import journal_position
from state.snapshot import Finished, Snapshots
from state.store import Store, holds_state, state_folder

WORDS = (Path(__file__).parents[2] / "LICENSE").read_text().split()  # a text that is not edited


# A bandit that learns from all that needs no model.
REWARDED: dict[str, object] = {"enabled": True, "reward": ["rules", "progress", "scorer"]}


def make_config(**sections: dict[str, object]) -> Config:
    """Small numbers, so that few documents exercise every stage: rows close, blocks complete, clusters move."""
    tree: dict[str, object] = {
        "daemon": {"epoch_s": 3600.0},
        "output": {"holdout": 0.02},
        "embedding": {"warmup_documents": 64, "retrain_drop": 1.0},
        "clusters": {"min_clusters": 2, "initial_clusters": 4, "max_clusters": 12},
        "packing": {"context_length": 512, "pool_documents": 60, "shuffle_block_rows": 16},
    }
    for name, values in sections.items():
        tree[name] = {**tree.get(name, {}), **values}  # type: ignore[dict-item]
    return parse_config(tree, "simulation")


NUM_WARM_ROWS = 520  # one tick, and a little more


def make_rows(seed: int, num_rows: int, first: int = 0) -> list[RawDocument]:
    """Documents of a few topics with everything that can happen to an input: duplicates, near-duplicates, new versions,
    redeliveries, retractions, unreadable rows, long documents. Positions count from `first`."""
    rng = random.Random(seed)
    topics = [[f"{word}{topic}" for word in rng.sample(WORDS, 80)] for topic in range(8)]
    texts: list[tuple[str, str]] = []  # (id, text) so far
    rows = []
    for position in range(first, first + num_rows):
        kind = rng.random()
        if texts and kind < 0.03:
            value: bytes | Retraction = Retraction(id=rng.choice(texts)[0], timestamp_us=1 + rng.randrange(3))
        elif kind < 0.05:
            value = rng.choice([b"{", b"[]", b'{"text": 1}', b"\xff\xfe", b'{"id": "x"}'])
        else:
            doc_id, text = f"d{position}", " ".join(rng.choices(rng.choice(topics), k=rng.randrange(1, 160)))
            if texts and kind < 0.10:
                doc_id, text = rng.choice(texts)  # redelivered
            elif texts and kind < 0.15:
                doc_id = rng.choice(texts)[0]  # a new version
            elif texts and kind < 0.20:
                text = rng.choice(texts)[1]  # the same text under another id
            elif texts and kind < 0.28:
                text = rng.choice(texts)[1] + f" and{position}"  # nearly the same text
            elif kind < 0.30:
                text = " ".join(rng.choices(rng.choice(topics), k=rng.randrange(300, 2000)))
            texts.append((doc_id, text))
            numbers = {"weight": position % 5 / 4, "edu": position % 7 - 1.5}
            record = {"id": doc_id, "text": text, "timestamp": rng.choice([0, 10**15]), **numbers}
            value = msgspec.json.encode(record)
        rows.append(RawDocument("simulated", position, value))
    return rows


def make_drifting_rows(seed: int, num_before: int, num_after: int) -> list[RawDocument]:
    """Rows that are all of another language from some row on."""
    foreign = {word: word[::-1].capitalize() for word in WORDS}
    rows = make_rows(seed, num_before + num_after)
    for place in range(num_before, len(rows)):
        row = rows[place]
        if isinstance(row.value, bytes):
            words = row.value.decode("latin-1").split(" ")
            changed = " ".join(foreign.get(word.rstrip("0123456789"), word) for word in words)
            rows[place] = msgspec.structs.replace(row, value=changed.encode("latin-1"))
    return rows


class _Late(Future[Any]):
    """The outcome of a call that is made when it is asked for."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__()
        self._call = call

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            try:
                self.set_result(self._call())
            except BaseException as error:
                self.set_exception(error)
        return super().result(timeout)


class ByChance(Executor):
    """Another thread, as a seed has it: a commit runs at once, or when the loop waits for it and not before."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        late = _Late(partial(fn, *args, **kwargs))
        if self._rng.random() < 0.3:
            with suppress(BaseException):
                late.result()
        return late


class Retention:
    """Cuts the topic of prepared messages by chance, behind what was announced and an epoch that knew of it.

    `covers` are the positions [first, end) of each message. What was not read, and committed, stays.
    """

    def __init__(self, world: World, covers: Sequence[tuple[int, int]], seed: int) -> None:
        self._world, self._covers, self._rng = world, covers, random.Random(seed)
        self._announced: dict[int, int] = {}  # by epoch: before which message all is pinned when it is committed

    def work(self, loop: Loop, pipeline: Pipeline, broker: MemoryBroker) -> None:
        """Between two polls."""
        world, committed = self._world, broker.committed()
        unread = next((at for at, (_, end) in enumerate(self._covers) if end > world.num_read), len(self._covers))
        number = max((n for n in self._announced if committed is not None and n <= committed.epoch), default=None)
        if number is not None and self._rng.random() < 0.5:
            world.prepared_start = max(world.prepared_start, self._announced[number])
        if self._rng.random() < 0.5:
            world.prepared_safe = self._rng.randint(min(world.prepared_start, unread), unread)
            pipeline.held.pin_unsafe(broker.retained_places)
            self._announced[loop.epoch.number] = world.prepared_safe

    def died(self) -> None:
        """The owner is gone, and with it what its open epoch was to pin."""
        self._announced.clear()


@dataclass(frozen=True)
class Outcome:
    """Everything that the world sees of a run."""

    sequences: tuple[tuple[object, ...], ...]
    ends: tuple[EndOfStream, ...]
    holdouts: tuple[str, ...]
    dead_letters: tuple[tuple[str, int], ...]
    ledger: bytes
    student_version: int = 0


def visible(sequence: PackedSequence) -> tuple[object, ...]:
    """A sequence as comparable values, to the last bit."""
    return (
        sequence.seq_no,
        sequence.generation,
        sequence.tokens_T.tobytes(),
        sequence.segment_lengths_S.tobytes(),
        sequence.segment_offsets_S.tobytes(),
        sequence.segment_flags_S.tobytes(),
        sequence.doc_ids,
        sequence.clusters_S.tobytes(),
        sequence.policy_versions_S.tobytes(),
        sequence.propensities_S.tobytes(),
        *(
            None if values_S is None else values_S.tobytes()
            for values_S in (sequence.weights_S, sequence.qualities_S, sequence.no_loss_R2)
        ),
    )


def outcome(world: World) -> Outcome:
    """The outcome that a world holds."""
    facts: dict[bytes, bytes | None] = {}
    for record in world.journal:
        facts.update({key: value for family, key, value in record.changes if family == "meta"})
    return Outcome(
        sequences=tuple(map(visible, world.sequences)),
        ends=tuple(world.ends),
        holdouts=tuple(holdout.doc_id for holdout in world.holdouts),
        dead_letters=tuple((letter.reason, letter.position) for letter in world.dead_letters),
        ledger=facts.get(b"ledger") or b"",
        student_version=int(facts.get(b"student") or 0),
    )


@cache
def tokenizer() -> Tokenizer:
    """Opened once for all simulations."""
    return open_tokenizer(TokenizerConfig())


@cache
def warm_world() -> tuple[World, Path, TemporaryDirectory[str]]:
    """A world, and the folder of its state, in which the teacher has done its work."""
    world = World(documents=make_rows(99, NUM_WARM_ROWS))
    folder = TemporaryDirectory(prefix="curatord-warm-")
    run(world, make_config(), Path(folder.name), flush=False)
    return world, Path(folder.name), folder


def new_world(seed: int, num_rows: int, folder: Path) -> World:
    """A copy of the warm world with `num_rows` rows still to come; its state is put into `folder`."""
    world, state, _ = warm_world()
    shutil.copytree(state, folder, dirs_exist_ok=True)
    rows = [*world.documents, *make_rows(seed, num_rows, NUM_WARM_ROWS)]
    return World(
        documents=rows,
        sequences=list(world.sequences),
        holdouts=list(world.holdouts),
        dead_letters=list(world.dead_letters),
        journal=list(world.journal),
        num_read=world.num_read,
    )


def run(
    world: World,
    config: Config,
    folder: Path,
    *,
    crashes: dict[int, CrashPoint] | None = None,
    wipes: float = 0.0,
    flush: bool = True,
    snapshots: Snapshots | None = None,
    committing: Executor | None = None,
    pool: Pool | None = None,
    retention: Retention | None = None,
) -> int:
    """Run the daemon over a world until the input has ended, starting again after every crash; how many there were.

    `wipes` is the share of crashes with which the disk is lost, and the state comes back from the journal. With
    `snapshots` it comes back from the newest one first: they are taken between commits, and the journal is cut behind
    them.
    """
    num_crashes, lost = 0, random.Random(len(world.documents))
    while True:
        if snapshots is not None and not holds_state(state_folder(folder)):
            snapshots.restore(state_folder(folder))
        store = Store(state_folder(folder))
        broker = MemoryBroker(world, store, crashes)
        for _ in catch_up(broker, broker.take_over(), store):
            pass
        pipeline = build(config, store, tokenizer())
        pipeline.restore(store, broker.prepared_message)
        identity = encode_identity(config, pipeline.decide.prepare.tokenizer)
        try:
            hooks = Hooks(committing=committing, pool=pool)
            loop = Loop(pipeline, broker, config.daemon, identity, lambda: 0.0, hooks)
            between = partial(between_polls, loop, pipeline, broker, store, snapshots, retention)
            loop.run(StopRequest(), flush=flush, on_rows=between)
        except Crash as crash:
            num_crashes += 1
            if retention is not None:
                retention.died()
            crashes = {epoch: point for epoch, point in (crashes or {}).items() if epoch != crash.epoch}
            continue
        else:
            return num_crashes
        finally:
            pipeline.close()
            store.close()
            if num_crashes and lost.random() < wipes:
                shutil.rmtree(folder)


def between_polls(
    loop: Loop,
    pipeline: Pipeline,
    broker: MemoryBroker,
    store: Store,
    snapshots: Snapshots | None,
    retention: Retention | None,
    rows: int = 0,
) -> None:
    """The owner's housekeeping, and what the world does meanwhile."""
    cut_behind_snapshot(snapshots, store, broker)
    if retention is not None:
        retention.work(loop, pipeline, broker)


def cut_behind_snapshot(snapshots: Snapshots | None, store: Store, broker: MemoryBroker) -> None:
    """As the service does it: a snapshot, if there is none of this epoch, and the journal behind the older one goes."""
    if snapshots is None or not snapshots.begin(store):
        return
    while (finished := snapshots.finished()) is None:
        time.sleep(0.001)
    assert isinstance(finished, Finished), finished
    if finished.cut_before is not None:
        broker.cut_journal(before_offset=finished.cut_before)


def run_with_standbys(
    world: World,
    config: Config,
    folder: Path,
    crashes: dict[int, CrashPoint],
    snapshots: Snapshots | None = None,
    committing: Executor | None = None,
    retention: Retention | None = None,
) -> int:
    """Like `run`, but with a standby that follows every epoch; it goes on when the owner dies, and a new one follows.

    The new one begins with an empty disk. How many owners died.
    """
    num_crashes = 0
    standby = Process(world, config, folder / "0", snapshots, committing)
    while True:
        owner, standby = standby, Process(world, config, folder / str(num_crashes + 1), snapshots, committing)
        owner.take_over(crashes)
        try:
            while not owner.broker.ended():
                owner.loop.step()
                standby.follow()
                between_polls(owner.loop, owner.pipeline, owner.broker, owner.store, snapshots, retention)
            owner.loop.flush()
            owner.loop.commit()
            owner.loop.settle()
        except Crash as crash:
            num_crashes += 1
            if retention is not None:
                retention.died()
            crashes = {epoch: point for epoch, point in crashes.items() if epoch != crash.epoch}
        else:
            standby.close()
            return num_crashes
        finally:
            owner.close()


class Process:
    """One daemon over a world: a standby, until it takes over."""

    loop: Loop

    def __init__(
        self,
        world: World,
        config: Config,
        folder: Path,
        snapshots: Snapshots | None = None,
        committing: Executor | None = None,
    ) -> None:
        self._world = world
        self._committing = committing
        self._config = config
        if snapshots is not None:
            snapshots.restore(state_folder(folder))
        self.store = Store(state_folder(folder))
        self.broker = MemoryBroker(world, self.store)
        self.pipeline = build(config, self.store, tokenizer())
        self.pipeline.load(self.store)
        self.follow()

    def follow(self) -> None:
        """Take in what the owner committed since."""
        for record in self.broker.journal(from_offset=journal_position(self.store), follow=True):
            if record is not None:
                take_in(record, self.store)
                self.pipeline.follow(record.changes, self.store)

    def take_over(self, crashes: dict[int, CrashPoint]) -> None:
        """Become the owner, which dies as planned."""
        self.broker = MemoryBroker(self._world, self.store, crashes)
        for record in catch_up(self.broker, self.broker.take_over(), self.store):
            self.pipeline.follow(record.changes, self.store)
        self.pipeline.restore(self.store, self.broker.prepared_message)
        identity = encode_identity(self._config, self.pipeline.decide.prepare.tokenizer)
        hooks = Hooks(committing=self._committing)
        self.loop = Loop(self.pipeline, self.broker, self._config.daemon, identity, lambda: 0.0, hooks)

    def close(self) -> None:
        """Let threads and lock go."""
        self.pipeline.close()
        self.store.close()
