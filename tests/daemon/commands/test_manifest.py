"""The manifest says what the shards are, and remembers every end."""

from __future__ import annotations

import json
from pathlib import Path

from daemon.app import build
from daemon.commands.manifest import write_manifest
from state.store import STATE_FOLDER, Store, state_folder
from tests.simulation.world import make_config, tokenizer


def test_ends_are_never_taken_back_and_a_damaged_manifest_is_written_anew(tmp_path: Path) -> None:
    store = Store(state_folder(tmp_path))
    pipeline = build(make_config(), store, tokenizer())
    path = tmp_path / STATE_FOLDER / "manifest.json"

    write_manifest(tmp_path, pipeline, complete=False)
    assert json.loads(path.read_bytes())["ends"] == {}
    write_manifest(tmp_path, pipeline, complete=True)
    write_manifest(tmp_path, pipeline, complete=True)
    write_manifest(tmp_path, pipeline, complete=False)
    manifest = json.loads(path.read_bytes())
    assert manifest["ends"] == {"0": [0]}
    assert manifest["tokenizer_digest"] == f"{tokenizer().digest:016x}"
    assert manifest["context_length"] == make_config().packing.context_length

    path.write_text("{")
    write_manifest(tmp_path, pipeline, complete=True)
    assert json.loads(path.read_bytes())["ends"] == {"0": [0]}
    pipeline.close()
    store.close()
