"""Processes that prepare leave no trace in the output, nor do their deaths, but for the row that ends them."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from consumers.broker import PreparedRow, RawDocument
from consumers.formats.undecodable import TOOK_PROCESS_DOWN
from curatord.errors import CuratordError, StateError, Undecodable
from daemon.config import Config
from daemon.prepared.pool import BOOT, Pool, opened_pool
from tests.daemon.prepared.parts import usual
from tests.deadly import WORD
from tests.simulation.world import REWARDED, make_config, new_world, outcome, run, tokenizer

INSTALL = "from tests.deadly import install; install('kill'); "
DEADLY = BOOT.replace("from daemon", f"{INSTALL}from daemon")


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    one = Pool(make_config(), 2, usual().identity, DEADLY)
    yield one
    one.close()


class Killer(threading.Thread):
    """Ends a process of the pool every now and then, until there were `deaths`."""

    def __init__(self, pool: Pool, deaths: int, seed: int) -> None:
        super().__init__(daemon=True)
        self._pool, self._deaths, self._rng = pool, deaths, random.Random(seed)
        self.killed = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        while self.killed < self._deaths and not self.stopped.wait(self._rng.random()):
            children = list(self._pool._children)
            if children:
                self._rng.choice(children).kill()
                self.killed += 1


def documents(num: int, deadly: tuple[int, ...] = ()) -> list[RawDocument]:
    texts = [f"a text {at} {WORD if at in deadly else 'of words'}" for at in range(num)]
    return [RawDocument("in", at, msgspec.json.encode({"text": text})) for at, text in enumerate(texts)]


def test_a_pool_of_which_a_process_is_killed_gives_what_the_loop_gives(tmp_path: Path, pool: Pool) -> None:
    config = make_config(
        bandit={**REWARDED},
        mixture={"rho": 0.5, "max_uses": 2},
        output={"holdout": 0.1},
    )
    outcomes = []
    for name in ("loop", "pool"):
        world = new_world(5, 1500, tmp_path / name)
        killer = Killer(pool, 1 if name == "pool" else 0, 1)
        killer.start()
        run(world, config, tmp_path / name, pool=pool if name == "pool" else None)
        killer.stopped.set()
        killer.join()
        outcomes.append(outcome(world))

    assert outcomes[0] == outcomes[1]


def test_only_the_row_that_ends_its_processes_is_set_aside(pool: Pool) -> None:
    rows = documents(12, deadly=(7,))

    prepared = pool.prepare(rows).result()

    assert [row.position for row in prepared] == list(range(12))
    aside = [row for row in prepared if not isinstance(row.value, PreparedRow)]
    assert [row.position for row in aside] == [7]
    assert isinstance(aside[0].value, Undecodable)
    assert aside[0].value.reason == TOOK_PROCESS_DOWN
    assert "signal 9 (SIGKILL)" in str(aside[0].value)
    assert aside[0].original == rows[7].value


def test_rows_over_which_an_error_is_raised_come_back_as_they_were(pool: Pool) -> None:
    rows = [RawDocument("in", "no number", b"{}")]  # type: ignore[arg-type]

    assert pool.prepare(rows).result() == rows
    assert len(pool.prepare(documents(3)).result()) == 3


def test_rows_that_a_reader_could_not_read_are_told_as_it_told_them(pool: Pool) -> None:
    rows = [*documents(1), RawDocument("in", 1, Undecodable("damaged_file", "what follows here is lost"))]

    *_, last = pool.prepare(rows).result()

    assert isinstance(last.value, PreparedRow)
    assert last.value.batch.column("reason")[last.value.row].as_py() == "damaged_file"
    assert last.value.batch.column("message")[last.value.row].as_py() == "what follows here is lost"


def test_rows_that_are_prepared_already_are_left_alone(pool: Pool) -> None:
    rows = [RawDocument("in", 0, PreparedRow(None, 0, 0))]

    assert pool.prepare(rows).result() == rows


def test_a_configuration_that_cannot_be_used_is_told_by_the_first_rows() -> None:
    config = make_config(tokenizer={"name": "/no/such/tokenizer.json"})
    one = Pool(config, 1, "{}")

    with pytest.raises(StateError, match=r"cannot begin: .*no such file"):
        one.prepare(documents(1)).result()
    one.close()


def test_a_process_that_is_killed_while_it_begins_is_no_fault_of_the_state() -> None:
    one = Pool(make_config(), 1, usual().identity, "import os; os.kill(os.getpid(), 9)")

    with pytest.raises(CuratordError, match=r"before it began, signal 9 \(SIGKILL\)\. Start again") as raised:
        one.prepare(documents(1)).result()
    one.close()

    assert raised.value.exit_code == 1  # so that a supervisor starts it again


def test_a_process_that_hears_of_a_stop_while_it_begins_goes_on() -> None:
    stops = "import os, signal; [os.kill(os.getpid(), number) for number in (signal.SIGINT, signal.SIGTERM)]; "
    one = Pool(make_config(), 1, usual().identity, stops + BOOT)

    prepared = one.prepare(documents(2)).result()
    one.close()

    assert all(isinstance(row.value, PreparedRow) for row in prepared)


def test_processes_end_with_the_pool_and_it_takes_nothing_more() -> None:
    config = Config()
    with opened_pool(config, tokenizer()) as none:
        assert none is None
    config = msgspec.structs.replace(config, daemon=msgspec.structs.replace(config.daemon, processes=1))
    with opened_pool(config, tokenizer()) as one:
        assert one is not None
        one.prepare(documents(2)).result()
        (child,) = one._children

    assert child.process.poll() is not None
    with pytest.raises(RuntimeError):
        one.prepare(documents(1))
