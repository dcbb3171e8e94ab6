"""The options that many commands have in common, and the places that they stand for."""

from __future__ import annotations

from pathlib import Path

import click

DEFAULT_CONFIGS = (Path("curatord.toml"), Path("/etc/curatord/curatord.toml"))

config_option = click.option(
    "-c", "--config", "config_path", type=click.Path(path_type=Path), help="Configuration file (TOML)."
)
place_option = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the output; without it the service's state is meant.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def find_config(given: Path | None) -> Path | None:
    """The file that was named, else the first of the default places, else none."""
    return given or next((path for path in DEFAULT_CONFIGS if path.is_file()), None)


def service_state(config_path: Path | None) -> Path:
    """Where the service that a configuration describes keeps its state."""
    from daemon.config import load_config

    return Path(load_config(find_config(config_path)).state.dir)
