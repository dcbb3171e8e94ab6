"""The ledger: every row, byte and token has an outcome, or the commit is refused with the numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from curatord.errors import StateError
from state.ledger import LEDGER, MAX_SOURCES, OTHER_SOURCES, Ledger, read_ledger
from tests.kept import Kept


def balanced() -> Ledger:
    """Six rows with every outcome, and a hundred tokens of which thirty are held."""
    ledger = Ledger()
    ledger.count("accepted", 2, 200)
    ledger.reject("quality", "too_short", 1, 10)
    ledger.count("redelivered", 1, 100)
    ledger.count("retraction", 1, 0)
    ledger.count("dead", 1, 7)
    ledger.dead["not_json"] = 1
    ledger.tokens_accepted = 100
    ledger.tokens_emitted_first = 60
    ledger.reject_later("not_sampled", 10)
    return ledger


def test_rows_of_every_outcome_add_up() -> None:
    ledger = balanced()

    ledger.check(tokens_held=30)

    assert (ledger.rows_read, ledger.bytes_read) == (6, 317)
    assert ledger.rejections == {"quality too_short": 1}
    assert ledger.rejected_later == {"not_sampled": 1}


def _lose_row(ledger: Ledger) -> None:
    ledger.rows_read += 1


def _lose_bytes(ledger: Ledger) -> None:
    ledger.bytes_read += 1


def _reject_without_reason(ledger: Ledger) -> None:
    ledger.count("rejected", 1, 0)


def _bury_without_reason(ledger: Ledger) -> None:
    ledger.count("dead", 1, 0)


def _lose_token(ledger: Ledger) -> None:
    ledger.tokens_accepted += 1


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_lose_row, "7 rows came in, 6 are accounted for"),
        (_lose_bytes, "318 bytes came in, 317 are accounted for"),
        (_reject_without_reason, "2 rejections came in, 1 are accounted for"),
        (_bury_without_reason, "2 dead letters came in, 1 are accounted for"),
        (_lose_token, "101 tokens came in, 100 are accounted for"),
    ],
)
def test_a_loss_is_refused_with_its_numbers(spoil: Callable[[Ledger], None], told: str) -> None:
    ledger = balanced()
    spoil(ledger)

    with pytest.raises(StateError, match=told):
        ledger.check(tokens_held=30)


def test_the_fact_gives_the_ledger_back_and_no_fact_a_fresh_one() -> None:
    ledger = balanced()

    assert LEDGER.value.decode(LEDGER.value.encode(ledger)) == ledger
    assert read_ledger(Kept()) == Ledger()


def test_sources_beyond_the_limit_are_counted_together() -> None:
    ledger = Ledger()
    for number in range(MAX_SOURCES + 5):
        ledger.count_source(f"source-{number}", "quality", 2)
    ledger.count_source("source-0", "", 3)

    assert len(ledger.sources) == MAX_SOURCES + 1
    assert ledger.sources["source-0"] == {"": 5, "quality": 2}
    assert ledger.sources[OTHER_SOURCES] == {"": 10, "quality": 10}


def test_edits_are_counted_by_kind_over_all_places() -> None:
    ledger = Ledger()
    ledger.count_edits(("text email 2, url email 1", "", "text phone 4"))
    ledger.count_edits(())

    assert ledger.masked == {"email": 3, "phone": 4}
