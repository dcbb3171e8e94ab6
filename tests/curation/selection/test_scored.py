from __future__ import annotations

import pytest

from curation.selection import scored
from curation.selection.scored import MAX_CHECKPOINTS, OLDER, Scored
from state.epoch import Epoch
from state.fact_table import gather_changes, restore_stages
from state.store import Store


def test_the_same_document_by_the_same_checkpoint_counts_once() -> None:
    known = Scored()
    assert known.weigh("influence", 100, 7) == ("learned", 1.0)
    assert known.weigh("influence", 100, 7) == ("duplicate", 0.0)
    assert known.weigh("perplexity", 100, 7) == ("learned", 1.0)
    assert known.weigh("influence", 200, 7) == ("learned", 1.0)
    assert known.weigh("influence", 100, 7) == ("late", 0.0)


def test_a_reward_weighs_half_for_every_newer_checkpoint() -> None:
    known = Scored()
    for checkpoint in (300, 100, 200):
        known.weigh("influence", checkpoint, None)
    assert [known.weigh("influence", checkpoint, 9)[1] for checkpoint in (100, 200, 300)] == [OLDER**2, OLDER, 1.0]
    assert known.weigh("other", 1, 9) == ("learned", 1.0)


def test_a_checkpoint_before_all_that_are_remembered_is_late() -> None:
    known = Scored()
    for checkpoint in range(MAX_CHECKPOINTS + 1):
        known.weigh("influence", 10 + checkpoint, None)
    assert known.weigh("influence", 10, 1) == ("late", 0.0)
    assert known.weigh("influence", 11, 1) == ("learned", OLDER ** (MAX_CHECKPOINTS - 1))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scored, "MAX_DOCUMENTS", 40)
    known = Scored()
    for doc_no in range(1000):
        known.weigh("influence", 1, doc_no)
    assert len(known.tables()[1].items()) <= 40  # type: ignore[attr-defined]
    assert known.weigh("influence", 1, 999) == ("duplicate", 0.0)


def test_a_restart_anywhere_changes_nothing(tmp_path) -> None:
    calls = [("a", 5 + n % 7, n % 11) for n in range(60)] + [("b", n, None) for n in range(20)]
    through = Scored()
    expected = [through.weigh(*call) for call in calls]
    store, restarted, found = Store(tmp_path), Scored(), []
    for number, call in enumerate(calls):
        found.append(restarted.weigh(*call))
        epoch = Epoch(number=number + 1, identity="")
        gather_changes((restarted,), epoch)
        store.apply(epoch.changes())
        restarted = Scored()
        restore_stages((restarted,), store)
    store.close()
    assert found == expected
