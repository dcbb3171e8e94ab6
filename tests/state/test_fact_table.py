"""FactTable: against a plain dict in any history, and for a follower that has the commits alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.fact_table import FactCell, FactOwner, FactTable, Table
from state.facts import DECIMAL, TEXT, Facts, FactSource, Family, packed, single
from tests.kept import Kept

FAMILY = Family("test", "a list of numbers, or their sum")
LISTS = Facts(FAMILY, TEXT, packed(list[int]), prefix=b"l")
SUMS = Facts(FAMILY, TEXT, DECIMAL, prefix=b"s")
COUNT = single("test count", DECIMAL)


class Lists(FactOwner):
    """Lists that are changed in place, their sums in a table of its own, and the number of changes."""

    def __init__(self) -> None:
        self.lists, self.sums, self.count = FactTable(LISTS), FactTable(SUMS), FactCell(COUNT, 0)
        self.longest = 0

    def tables(self) -> tuple[Table, ...]:
        return self.lists, self.sums, self.count

    def before_commit(self) -> None:
        self.sums.replace({key: sum(values) for key, values in self.lists.items()})

    def restored(self, committed: FactSource) -> None:
        self.longest = max(map(len, self.lists.values()), default=0)


keys = st.sampled_from(["a", "b", "c", "ä", "\ud800"])
steps = st.one_of(
    st.tuples(st.just("put"), keys, st.lists(st.integers(0, 3), max_size=3)),
    st.tuples(st.just("append"), keys, st.just([])),
    st.tuples(st.just("delete"), keys, st.just([])),
    st.tuples(st.just("replace"), keys, st.lists(st.integers(0, 3), max_size=2)),
    st.tuples(st.sampled_from(["commit", "restart"]), st.just(""), st.just([])),
)


@given(st.lists(steps, max_size=40))
def test_any_history_leaves_what_a_dict_would_have_and_commits_only_what_changed(
    history: list[tuple[str, str, list[int]]],
) -> None:
    stage, kept, follower = Lists(), Kept(), Kept()
    plain: dict[str, list[int]] = {}
    committed: dict[str, list[int]] = {}
    for action, key, values in [*history, ("commit", "", [])]:
        if action == "put":
            stage.lists[key] = list(values)
            plain[key] = list(values)
            stage.count.value += 1
        elif action == "append" and key in plain:
            stage.lists[key].append(7)
            stage.lists.touch(key)
            plain[key].append(7)
        elif action == "delete":
            assert stage.lists.pop(key, None) == plain.pop(key, None)
        elif action == "replace":
            plain = {**{other: rows for other, rows in plain.items() if other != key}, "a": list(values)}
            stage.lists.replace({other: list(rows) for other, rows in plain.items()})
        elif action == "commit":
            changes = kept.commit(stage)  # which fails where a row is removed that was never written
            assert changes == sorted(changes, key=lambda change: change[0] != "test")
            for table in (LISTS, SUMS):
                changed = [key for key, _ in table.changed(changes)]
                assert changed == sorted(set(changed), key=TEXT.encode)
            unchanged = {key for key, rows in plain.items() if committed.get(key) == rows}
            assert {key for key, _ in SUMS.changed(changes)} & unchanged == set()
            follower.apply(changes)
            assert kept.commit(stage) == []
            committed = {key: list(rows) for key, rows in plain.items()}
        elif action == "restart":
            stage, plain = Lists(), {key: list(rows) for key, rows in committed.items()}
            kept.restore(stage)
            assert stage.longest == max(map(len, plain.values()), default=0)
        assert dict(stage.lists) == plain
        assert len(stage.lists) == len(plain)
    other = Lists()
    follower.restore(other)
    assert dict(other.lists) == plain
    assert dict(other.sums) == {key: sum(rows) for key, rows in plain.items()}
    assert other.count.value == stage.count.value
    assert dict(LISTS.items(follower)) == plain


def test_what_is_not_there_cannot_have_changed() -> None:
    table = FactTable(LISTS)
    with pytest.raises(KeyError):
        table.touch("a")
    with pytest.raises(KeyError):
        del table["a"]
    assert table.take_changes() == []


def test_a_cell_that_is_as_it_was_is_no_change() -> None:
    cell = FactCell(COUNT, 5)
    assert cell.take_changes() == []
    cell.value = 6
    assert cell.take_changes() == [(b"test count", b"6")]
    cell.value = 7
    cell.value = 6
    assert cell.take_changes() == []
