"""A configuration is found where it was named, else in the usual places."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.options import find_config, service_state


def test_the_file_that_was_named_comes_before_the_one_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    named = tmp_path / "named.toml"
    named.write_text('[state]\ndir = "elsewhere"\n')
    assert find_config(named) == named

    at_hand = Path("curatord.toml")
    at_hand.write_text("")
    assert find_config(None) == at_hand
    assert service_state(named) == Path("elsewhere")
