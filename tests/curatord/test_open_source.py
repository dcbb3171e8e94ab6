"""The name of a stream says where it lies, and what is missing where it cannot be opened."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from curatord.errors import StreamError
from curatord.folder import FolderSource
from curatord.open_source import kafka_place, open_source


def test_a_path_is_a_folder(tmp_path: Path) -> None:
    assert isinstance(open_source(str(tmp_path), {}), FolderSource)


def test_another_protocol_is_refused() -> None:
    with pytest.raises(StreamError, match=r"give kafka://host:9092/topic, a folder, or"):
        open_source("nothing://bucket/output", {})


@pytest.mark.parametrize(
    "url", ["kafka://host", "kafka://host/", "kafka://host/a/b", "kafka:///topic", "kafka://h/t?x=1"]
)
def test_a_url_that_names_no_topic_is_refused(url: str) -> None:
    with pytest.raises(StreamError, match="names no topic"):
        kafka_place(url)


def test_servers_and_topic_are_told_apart() -> None:
    assert kafka_place("kafka://a:9092,b:9092/sequences/") == ("a:9092,b:9092", "sequences")


@pytest.mark.parametrize(
    ("module", "missing", "url", "extra"),
    [
        ("curatord.topic", "kafka", "kafka://host:9092/topic", "kafka"),
        ("curatord.folder", "pyarrow", "folder", "files"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_the_extra_that_has_it(
    monkeypatch: pytest.MonkeyPatch, module: str, missing: str, url: str, extra: str
) -> None:
    monkeypatch.delitem(sys.modules, module, raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(StreamError, match=f"needs {missing}.*{extra}"):
        open_source(url, {})
