"""Files and folders are synced alike, and a path that is gone is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from state.durable import sync


def test_a_file_and_its_folder_can_be_synced(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    sync(tmp_path / "file")
    sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "gone")
