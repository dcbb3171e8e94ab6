"""The stages that learn take whole ticks; accepted documents go out, are held, or are let go with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.ticks import TICK_ORDINALS
from daemon.app import build
from daemon.pipeline import Pipeline
from state.epoch import Epoch
from state.store import Store, state_folder
from tests.simulation.world import NUM_WARM_ROWS, REWARDED, make_config, make_rows, new_world, tokenizer

SAMPLING: dict[str, dict[str, object]] = {
    "bandit": {**REWARDED, "keep_ratio": 0.5},
    "mixture": {"rho": 0.5},
}


class Warm:
    """A pipeline whose student is trained, with the documents of an open tick waiting."""

    def __init__(self, folder: Path, **sections: dict[str, object]) -> None:
        new_world(0, 0, folder)
        self.store = Store(state_folder(folder))
        self.config = make_config(**sections)
        self.pipeline = self._restored()
        self.epoch = Epoch(number=1000, identity="")
        self.read = 0

    def _restored(self) -> Pipeline:
        pipeline = build(self.config, self.store, tokenizer())
        pipeline.restore(self.store)
        return pipeline

    def process(self, num_rows: int) -> None:
        """The next rows of an input, in one poll."""
        rows = make_rows(7, 2000, NUM_WARM_ROWS)
        self.pipeline.process(rows[self.read : self.read + num_rows], self.epoch)
        self.read += num_rows

    def commit(self) -> None:
        self.pipeline.gather(self.epoch)
        self.store.apply(self.epoch.changes())
        self.epoch = Epoch(number=self.epoch.number + 1, identity="")

    def restart(self) -> None:
        """Everything from the facts."""
        self.pipeline.close()
        self.pipeline = self._restored()

    def waiting(self) -> list[tuple[int, int, int]]:
        waiting = self.pipeline.ticks.waiting.until()
        columns = waiting.ordinals_B.tolist(), waiting.doc_nos_B.tolist(), waiting.num_tokens_B.tolist()
        return list(zip(*columns, strict=True))

    def close(self) -> None:
        self.pipeline.close()
        self.store.close()


@pytest.fixture
def warm(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Warm]:
    warm = Warm(tmp_path, **getattr(request, "param", {}))
    yield warm
    warm.close()


def test_nothing_is_learned_before_the_tick_is_whole(warm: Warm) -> None:
    left = 2 * TICK_ORDINALS - NUM_WARM_ROWS
    before = len(warm.waiting())
    warm.process(left - 1)
    almost = warm.waiting()
    assert len(almost) > before
    assert {ordinal // TICK_ORDINALS for ordinal, _, _ in almost} == {1}
    assert not warm.epoch.sequences

    warm.process(1)

    assert all(ordinal >= 2 * TICK_ORDINALS for ordinal, _, _ in warm.waiting())
    assert warm.epoch.sequences


@pytest.mark.parametrize("warm", [{}, SAMPLING], indirect=True, ids=["all go out", "sampled"])
def test_every_token_goes_out_once_or_is_held_or_has_a_reason(warm: Warm) -> None:
    pipeline = warm.pipeline
    for num_rows in (400, 700):
        warm.process(num_rows)
        warm.commit()  # where the ledger is checked
        assert pipeline.held.unemitted_tokens() > 0
    warm.pipeline.flush(warm.epoch)
    warm.commit()

    ledger = pipeline.ledger
    assert not warm.waiting()
    # A flush ends tick, pool and rows; balance buffers keep their documents.
    buffered = {doc_no for doc_no, _ in pipeline.compose.mixture.held()}
    assert bool(buffered) == warm.config.bandit.enabled
    assert sum(pipeline.held[doc_no].unemitted for doc_no in buffered) == pipeline.held.unemitted_tokens()
    assert ("not_sampled" in ledger.rejected_later) == warm.config.bandit.enabled
    ledger.check(pipeline.held.unemitted_tokens())


def test_documents_of_an_open_tick_wait_again_after_a_restart(warm: Warm) -> None:
    warm.process(700)
    warm.commit()
    before = warm.waiting()
    assert before

    warm.restart()

    assert warm.waiting() == before
    ledger, held = warm.pipeline.ledger, warm.pipeline.held
    ledger.check(held.unemitted_tokens())
