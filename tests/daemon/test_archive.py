"""`curatord archive` refuses a place that it cannot write to; `tests/integration` has it at work."""

from __future__ import annotations

from pathlib import Path

import pytest

from curatord.errors import StreamError
from daemon.archive import archive_topic


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "curatord.toml"
    path.write_text(
        '[kafka]\nbootstrap_servers = "127.0.0.1:9"\nrequest_timeout_s = 1\n[metrics]\nlisten = "127.0.0.1:0"\n'
    )
    return path


@pytest.mark.parametrize("once", [True, False])
def test_an_unknown_protocol_is_refused_before_anything_is_read(config: Path, once: bool) -> None:
    with pytest.raises(StreamError, match="nosuch://bucket/archive cannot be opened"):
        archive_topic(config, "nosuch://bucket/archive", max_wait_s=1, once=once)
