"""`curatord validate`: the configuration in three tiers: its fields, their relations, and what they name."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from daemon.config import load_config
from state.store import Store, state_folder


def validate(config_path: Path | None, output: Path | None, *, environment: bool) -> None:
    """Print what was checked. Raises `ConfigError` or `IdentityError` at the first tier that fails."""
    config = load_config(config_path)
    click.echo(f"{config_path or 'defaults'}: every option is known and of its type, and they agree with each other")
    if not environment:
        return
    from daemon.app import build_restored

    with tempfile.TemporaryDirectory(prefix="curatord-validate-") as folder:
        if output is not None and state_folder(output).is_dir():
            store, where = Store(state_folder(output), read_only=True), f"the state in {output}"
        else:
            store, where = Store(Path(folder)), "an empty state"
        try:
            pipeline = build_restored(config, store)
            pipeline.stages.workers.close()
        finally:
            store.close()
    tokenizer = pipeline.stages.tokenizer
    click.echo(f"tokenizer {tokenizer.name}: {tokenizer.vocabulary_size:,} ids, EOS {tokenizer.eos_id}")
    click.echo(f"embedding model {config.embedding.model}: {pipeline.stages.embedder.dimension} dimensions")
    click.echo(f"built over {where}: ready to run")
