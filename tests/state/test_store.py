"""The store: one commit is all or nothing, one writer at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from curatord.errors import StateBusy, StateError
from state.epoch import Epoch
from state.store import Store


def test_an_epoch_is_there_after_it_was_applied_and_after_opening_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    epoch = Epoch(number=1, identity="me")
    epoch.put("meta", b"epoch", b"1")
    epoch.put("meta", b"identity", b"me")
    epoch.put("clusters", b"a", b"1")
    epoch.put("clusters", b"b", b"2")
    store.apply(epoch.changes())
    second = Epoch(number=2, identity="me")
    second.delete("clusters", b"a")
    store.apply(second.changes())
    store.close()

    again = Store(tmp_path)

    assert list(again.items("clusters")) == [(b"b", b"2")]
    committed = again.committed()
    assert committed is not None
    assert (committed.epoch, committed.identity) == (1, "me")
    again.close()


def test_a_second_writer_is_refused_and_a_reader_is_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    epoch = Epoch(number=1, identity="")
    epoch.put("guard", b"k", b"v")
    store.apply(epoch.changes())

    with pytest.raises(StateBusy, match="another curatord is writing"):
        Store(tmp_path)
    reader = Store(tmp_path, read_only=True)

    assert reader.get("guard", b"k") == b"v"
    reader.close()
    store.close()


def test_a_folder_without_state_says_so(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="there is no state in"):
        Store(tmp_path / "nothing", read_only=True)


@pytest.mark.parametrize("version", [b"4", b"999"])
@pytest.mark.parametrize(("folder", "way_out"), [(".curatord/state", "into another --output"), ("lane", "#new-lane")])
def test_state_of_another_format_is_refused_with_a_way_out(
    tmp_path: Path, version: bytes, folder: str, way_out: str
) -> None:
    store = Store(tmp_path / folder)
    store.apply([("meta", b"format", version)])
    store.close()

    with pytest.raises(StateError, match=f"format {version.decode()}, .*{way_out}"):
        Store(tmp_path / folder)


def test_a_damaged_store_is_a_state_error_and_not_a_crash(tmp_path: Path) -> None:
    Store(tmp_path).close()
    (tmp_path / "CURRENT").write_bytes(b"garbage\n")

    with pytest.raises(StateError, match="cannot be opened"):
        Store(tmp_path)


def test_a_family_that_began_when_the_process_was_killed_is_opened(tmp_path: Path) -> None:
    """RocksDB writes the file of options after the manifest; here it has not come to that."""
    for family in ("guard", "clusters"):
        options = {path.name: path.read_bytes() for path in tmp_path.glob("OPTIONS-*")}
        store = Store(tmp_path)
        store.apply([(family, b"k", b"v")])
        store.close()
    for path in tmp_path.glob("OPTIONS-*"):
        path.unlink()
    for name, content in options.items():
        (tmp_path / name).write_bytes(content)
    for read_only in (True, False):
        store = Store(tmp_path, read_only=read_only)
        assert [store.get(family, b"k") for family in ("guard", "clusters")] == [b"v", b"v"]
        store.close()
