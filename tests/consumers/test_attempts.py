"""Attempts: the marks that a process leaves of its work, and the reading of its successor."""

from __future__ import annotations

from consumers.attempts import AHEAD, MAX_MARK_BYTES, Attempts


class Life:
    """Lives that share one place to keep their mark."""

    def __init__(self, before: Life | None = None) -> None:
        self.mark: bytes = before.mark if before else b""
        self.waited: list[bool] = []
        self.attempts = Attempts(self._keep, self.mark)

    def _keep(self, mark: bytes, *, wait: bool) -> None:
        self.mark = mark
        self.waited.append(wait)

    def begin(self, first: int, end: int, source: str = "t-0") -> int:
        return self.attempts.begin([(source, position) for position in range(first, end)])


def test_each_life_that_ends_over_rows_counts_one_more() -> None:
    life = Life()
    for deaths in range(4):
        assert life.begin(100, 164) == 64
        assert life.attempts.deaths == deaths
        life = Life(life)


def test_rows_before_and_after_are_not_taken_together_with_those_of_a_death() -> None:
    first = Life()
    first.begin(100, 164)
    second = Life(first)

    assert second.begin(0, 256) == 100
    assert second.attempts.deaths == 0
    assert second.begin(100, 300) == 200  # so far ahead the mark of the first life reached
    assert second.attempts.deaths == 1


def test_a_life_that_ends_for_a_reason_of_its_own_leaves_no_suspect() -> None:
    first = Life()
    first.begin(100, 164)
    first.attempts.close()

    assert not Life(first).attempts.has_suspects


def test_suspects_of_earlier_lives_stay_until_they_are_committed() -> None:
    first = Life()
    first.begin(0, 10)
    second = Life(first)
    second.begin(0, 10)
    second.attempts.settle()
    assert Life(second).attempts.has_suspects

    second.begin(10, 2 * AHEAD)
    second.attempts.committed({"t-0": 2 * AHEAD})
    second.attempts.close()

    assert not Life(second).attempts.has_suspects


def test_rows_that_were_begun_and_still_wait_after_a_commit_keep_their_deaths() -> None:
    life = Life()
    for _ in range(2):
        life.begin(0, 10)
        life = Life(life)

    assert life.begin(0, 10) == 10  # messages of many rows: a poll gives out the first alone
    life.attempts.committed({"t-0": 1})
    life.begin(1, 10)

    assert life.attempts.deaths == 2


def test_steady_rows_wait_for_the_first_mark_only_and_need_one_in_many_polls() -> None:
    life = Life()
    for poll in range(1000):
        life.begin(64 * poll, 64 * poll + 64)

    assert life.waited.count(True) == 1
    assert len(life.waited) <= 1000 * 64 / (AHEAD // 2) + 1


def test_a_trickle_over_many_partitions_needs_few_marks_and_each_fits() -> None:
    life = Life()
    for poll in range(10_000):
        life.begin(poll // 200, poll // 200 + 1, f"a-topic-with-a-long-name-{poll % 200}")

    assert len(life.waited) == 200
    assert len(life.mark) <= MAX_MARK_BYTES


def test_a_row_taken_by_itself_is_known_by_its_place_in_the_message() -> None:
    life = Life()
    for deaths in range(3):
        assert life.attempts.ended_at(("t-0", 7, 3)) == deaths
        life.begin(7, 8)
        life.attempts.single_out(("t-0", 7, 2))
        life.attempts.single_out(("t-0", 7, 3))
        life = Life(life)
        assert life.attempts.ended_at(("t-0", 7, 2)) == 0


def test_a_mark_that_cannot_be_read_counts_for_nothing() -> None:
    for left in (b"", b"\0" * 100, b"not base64 \xff", b"AAAA\n"):
        assert not Attempts(left=left).has_suspects


def test_the_exception_that_ended_a_life_is_told() -> None:
    life = Life()
    life.begin(0, 1)
    life.attempts.died(ValueError("so it was"))

    assert Life(life).attempts.ended == "ValueError: so it was"


def test_suspects_of_sources_that_this_life_does_not_read_hold_nothing_up_and_stay_suspects() -> None:
    first = Life()
    first.begin(100, 164, "a")

    elsewhere = Attempts(left=first.mark, sources=frozenset({"b"}))
    again = Attempts(left=first.mark, sources=frozenset({"a", "b"}))

    assert not elsewhere.has_suspects
    assert elsewhere.begin([("b", 0)]) == 1
    assert again.has_suspects
    assert again.begin([("a", 100)]) == 1
    assert again.deaths == 1
