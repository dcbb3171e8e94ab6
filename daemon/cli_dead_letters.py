"""The commands for dead letters."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from daemon.options import config_option, find_config, json_option


@click.group("dead-letters")
def dead_letters() -> None:
    """Dead letters: on the topic of the service or, with --output, in a folder of `curate`."""


letters_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="Those of this folder, not of the topic."
)
reason_option = click.option("--reason", default="", help="Only those with this reason.")
source_option = click.option(
    "--from", "source", default="", metavar="SOURCE", help="Only of this TOPIC-PARTITION or file."
)
since_option = click.option(
    "--since", default="", metavar="TIME", help="Only those written since, as 2026-01-31T10:00."
)


@dead_letters.command("list")
@config_option
@letters_option
@reason_option
@source_option
@since_option
@json_option
def dead_letters_list(
    config_path: Path | None, output: Path | None, reason: str, source: str, since: str, as_json: bool
) -> None:
    """Count them by reason, source and day, and show the newest of each reason."""
    from daemon.commands.dead_letters import list_letters, make_filter

    sys.exit(list_letters(find_config(config_path), output, make_filter(reason, source, since), as_json=as_json))


@dead_letters.command("show")
@click.argument("place")
@config_option
@letters_option
@click.option("--raw", is_flag=True, help="Write the original and nothing else, byte for byte.")
@json_option
def dead_letters_show(place: str, config_path: Path | None, output: Path | None, raw: bool, as_json: bool) -> None:
    """Show one, by its place as `list` prints it."""
    from daemon.commands.dead_letters import show_letter

    show_letter(find_config(config_path), output, place, as_json=as_json, raw=raw)


@dead_letters.command("replay")
@click.argument("places", nargs=-1, metavar="[PLACE]...")
@config_option
@reason_option
@source_option
@since_option
@click.option("--dry-run", is_flag=True, help="Only tell what would be sent.")
@json_option
def dead_letters_replay(
    places: tuple[str, ...],
    config_path: Path | None,
    reason: str,
    source: str,
    since: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send originals back to the documents topic, for instance after the configuration was corrected.

    Without a PLACE all letters that the options select. A letter is replayed twice at most. Exit code 1 if some were
    refused.
    """
    from daemon.commands.dead_letters import make_filter, replay_letters

    sys.exit(
        replay_letters(
            find_config(config_path), places, make_filter(reason, source, since), dry_run=dry_run, as_json=as_json
        )
    )
