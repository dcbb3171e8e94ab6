"""The hub is asked once, and its cache where it does not answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.hub import hub_answers, hub_file

NO_HUB = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"


@pytest.fixture(autouse=True)
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a network, and a cache with one file of one model; a wait fails."""

    def must_not_sleep(seconds: float) -> None:
        raise AssertionError(f"the hub was waited for: {seconds} s")

    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", NO_HUB)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("time.sleep", must_not_sleep)
    model = tmp_path / "models--publisher--model"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("0" * 40)
    snapshot = model / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    return snapshot


def test_a_file_of_the_cache_is_as_good_as_the_hubs(no_hub: Path) -> None:
    assert hub_file("publisher/model", "config.json") == no_hub / "config.json"
    assert not hub_answers("publisher/model")


@pytest.mark.parametrize("name", ["no-one/no-such-model", "publisher/model", "no-such-model", "not a name"])
def test_what_neither_has_is_refused_without_a_wait(name: str) -> None:
    with pytest.raises(Exception, match=r"refused|Repo id"):
        hub_file(name, "tokenizer.json")
