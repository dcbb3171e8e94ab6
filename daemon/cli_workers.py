"""The commands of services beside a lane: workers, which take a share of its work, and the archive."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from daemon.options import config_option, find_config


@click.command()
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder of the prepared rows.")
@config_option
@click.option("--again", is_flag=True, help="Prepare nothing: have all prepared again that the lane has not decided.")
def prepare(inputs: tuple[str, ...], output: Path | None, config_path: Path | None, again: bool) -> None:
    """Do the work that needs nothing but each document, on any machine.

    Without INPUT: documents of a topic, for the lane, as one of many workers, until it is stopped.

    INPUT is as for `curate`, and `curatord curate FOLDER` then gives what `curatord curate INPUT...` does. Run it with
    the same inputs on all machines that see the folder, and again after a stop.
    """
    if bool(inputs) != (output is not None) or (inputs and again):
        raise click.UsageError("files are prepared with INPUT and --output, documents of a topic with neither")
    if output is not None:
        from daemon.commands.prepare import prepare_files

        sys.exit(prepare_files(inputs, output, find_config(config_path)))
    from daemon.prepared.service import begin_again, run_worker

    sys.exit((begin_again if again else run_worker)(find_config(config_path)))


@click.command()
@config_option
@click.option("--model", type=click.Path(path_type=Path), help="A checkpoint, or a trainer's folder of checkpoints.")
@click.option("--reference", type=click.Path(path_type=Path), help="Documents on which the loss is to fall.")
@click.option(
    "--scorer",
    "scorers",
    multiple=True,
    default=("influence",),
    show_default=True,
    metavar="NAME",
    help="influence, perplexity, or a function of your own as module:function; several give a reward each.",
)
@click.option(
    "--damping",
    type=click.FloatRange(0, min_open=True),
    default=0.1,
    show_default=True,
    help="Of the curvature, over its mean; more makes influence more like a product of gradients.",
)
@click.option("--device", default="", help="As torch names it; else a GPU where there is one.")
def score(
    config_path: Path | None,
    model: Path | None,
    reference: Path | None,
    scorers: tuple[str, ...],
    damping: float,
    device: str,
) -> None:
    """Answer the lane's requests for rewards, as one of many workers, until it is stopped.

    The model is any causal language model of transformers. The newest checkpoint in its folder counts; a newer one
    takes over as soon as it is written.
    """
    from daemon.scoring.service import Options, run_scorer

    sys.exit(run_scorer(Options(find_config(config_path), model, reference, scorers, damping, device)))


@click.command()
@config_option
@click.option("-o", "--output", required=True, help="Folder of the archive, or its URL: s3://bucket/archive.")
@click.option(
    "--max-wait",
    "max_wait_s",
    type=click.FloatRange(1),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="Archive a shard that is not full after this long; keep it well below the topic's retention.",
)
@click.option("--once", is_flag=True, help="Archive what there is now, then exit.")
def archive(config_path: Path | None, output: str, max_wait_s: float, once: bool) -> None:
    """Write the topic of sequences to Parquet shards, each sequence once, until it is stopped.

    `PackedStream(topic, archive=OUTPUT)` reads what retention has cut from there. One process archives to one place; a
    start goes on behind the last shard that lies there.
    """
    from daemon.archive import archive_topic

    sys.exit(archive_topic(find_config(config_path), output, max_wait_s=max_wait_s, once=once))
