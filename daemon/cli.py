"""The commands. Each is thin: it reads its arguments and calls the module that owns the work.

Nothing heavy is imported before a command needs it: `--help` and `explain` start without torch.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from curatord import __version__
from daemon.cli_dead_letters import dead_letters
from daemon.cli_workers import archive, prepare, score
from daemon.guarded import run_guarded
from daemon.options import config_option, find_config, json_option, place_option, service_state
from ops.blas import use_one_thread

if TYPE_CHECKING:
    from curation.decontamination.questions import Mode


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="curatord")
def cli() -> None:
    """Streaming curation of training data: documents in, packed training sequences out."""


@cli.command()
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option(
    "-o", "--output", required=True, help="Folder of the output, or a URL: s3://bucket/corpus, which needs --state."
)
@click.option(
    "--state",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder on this machine for the state of an output with a URL; other commands take it as their --output.",
)
@config_option
@click.option("--keep-open", is_flag=True, help="Do not flush at the end: what is held waits for the next run.")
@click.option("--shuffle-files", type=int, metavar="SEED", help="Read the input files in an order drawn from SEED.")
@click.option("--strict", is_flag=True, help="Exit code 1 if there is a warning; 2 if an input cannot be opened.")
@click.option(
    "--again",
    metavar="OLD",
    type=click.Path(path_type=Path, file_okay=False),
    help="Read the inputs of this output once more, under other options; --output is a new one.",
)
@click.option(
    "--verdicts",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write what was decided about every document, with the text of what was dropped, to DIR as Parquet.",
)
@click.option(
    "--verdicts-share",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Of the documents, by hash of their ids, that --verdicts tells of.",
)
@json_option
def curate(
    inputs: tuple[str, ...],
    output: str,
    state: Path | None,
    config_path: Path | None,
    keep_open: bool,
    shuffle_files: int | None,
    strict: bool,
    again: Path | None,
    verdicts: Path | None,
    verdicts_share: float,
    as_json: bool,
) -> None:
    """Curate files into packed sequences.

    INPUT is a file (JSON, Parquet, Arrow, text; also .gz and .zst), a folder, a glob, a URL that fsspec can open, or -
    for standard input. The output folder holds Parquet shards that `datasets` reads, and the state: run it again
    with more files and it goes on.
    """
    from curatord.object_store import is_url
    from kernels.cache import keep_in
    from state.store import STATE_FOLDER

    if is_url(output) != (state is not None):
        raise click.UsageError(
            "an --output with a URL needs --state DIR, a folder on this machine for what curatord knows; a folder "
            "holds its own state"
        )
    folder = state or Path(output)
    keep_in(folder.absolute() / STATE_FOLDER / "kernels")
    from daemon.commands.curate import Options, curate_files

    sys.exit(
        curate_files(
            Options(
                arguments=inputs,
                output=folder,
                url=output if state is not None else "",
                config_path=find_config(config_path),
                keep_open=keep_open,
                shuffle_seed=shuffle_files,
                as_json=as_json,
                strict=strict,
                again=again,
                verdicts=verdicts,
                verdicts_share=verdicts_share,
            )
        )
    )


@cli.command()
@config_option
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="Also check this state.")
@click.option(
    "--no-environment", is_flag=True, help="Check the file and the tokenizer only, not models, state and cluster."
)
def validate(config_path: Path | None, output: Path | None, no_environment: bool) -> None:
    """Check a configuration: its fields, the relations between them, then what they name."""
    from daemon.commands.validate import validate as run

    run(find_config(config_path), output, environment=not no_environment)


@cli.command()
@click.argument("doc_id")
@place_option
@config_option
@json_option
def explain(doc_id: str, output: Path | None, config_path: Path | None, as_json: bool) -> None:
    """Say what became of one document: what every stage decided, and where its tokens are or went.

    A service may run meanwhile; what it did in the last seconds may be missing.
    """
    from daemon.commands.explain import explain as run

    run(doc_id, output or service_state(config_path), as_json=as_json)


@cli.command()
@click.argument("doc_ids", nargs=-1, metavar="[DOC_ID]...")
@click.option("--from", "listed", type=click.Path(path_type=Path), metavar="FILE", help="Also the ids in a file.")
@click.option("--wait", is_flag=True, help="Of a service on this machine: until it took them, for the receipt.")
@place_option
@config_option
@json_option
def retract(
    doc_ids: tuple[str, ...],
    listed: Path | None,
    wait: bool,
    output: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Take documents back: free their places in the indices, drop what is held, list what was emitted.

    Without --output they are sent to the service, over its topic of documents. A receipt says which sequences hold
    them; it is kept in the folder of the state, in receipts.jsonl.
    """
    from daemon.commands.receipt import ids_in

    doc_ids = (*doc_ids, *(ids_in(listed) if listed is not None else ()))
    if not doc_ids:
        raise click.UsageError("name documents by their ids, or a file of ids with --from")
    if output is None:
        from daemon.commands.retract import send_and_wait, send_retractions

        if wait:
            send_and_wait(doc_ids, find_config(config_path), service_state(config_path), as_json=as_json)
        else:
            send_retractions(doc_ids, find_config(config_path))
        return
    from daemon.commands.curate import retract_documents

    retract_documents(doc_ids, output, find_config(config_path), as_json=as_json)


@cli.group()
def config() -> None:
    """Write and show the configuration, and print its schema."""


@config.command("new")
def config_new() -> None:
    """Print a starter file: every option, commented out, with its default and what it means."""
    from daemon.config import Config, show_config

    click.echo(show_config(Config(), comments=True), nl=False)


@config.command("show")
@config_option
def config_show(config_path: Path | None) -> None:
    """Print the configuration in effect, defaults included."""
    from daemon.config import load_config, show_config

    click.echo(show_config(load_config(find_config(config_path)), comments=False), nl=False)


@config.command("schema")
def config_schema() -> None:
    """Print the JSON schema of the configuration file."""
    import msgspec

    from daemon.config import Config

    click.echo(msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Config)), indent=2))


@cli.command("run")
@config_option
@click.option("--dry-run", is_flag=True, help="Read what is on the topic, write nothing, say what would become of it.")
@click.option("--max-documents", type=click.IntRange(min=1), default=10_000, help="Most rows of a dry run.")
@json_option
def run_command(config_path: Path | None, dry_run: bool, max_documents: int, as_json: bool) -> None:
    """Curate the documents of a topic, as a service, until it is stopped."""
    if dry_run:
        from daemon.commands.dry_run import dry_run as run

        sys.exit(run(find_config(config_path), max_documents, as_json=as_json))
    from daemon.service import run_service

    sys.exit(run_service(find_config(config_path)))


@cli.command()
@config_option
@json_option
def status(config_path: Path | None, as_json: bool) -> None:
    """Show how the service does, then exit: 0 healthy, 1 degraded, 69 if it does not answer."""
    from daemon.commands.status import print_status

    sys.exit(print_status(find_config(config_path), as_json=as_json))


@cli.command()
@config_option
@click.option("--now", is_flag=True, help="Do not wait for the lane to commit what lies on the topic of documents.")
@json_option
def finish(config_path: Path | None, now: bool, as_json: bool) -> None:
    """End the stream: everything held goes out, and trainers stop at the same sequence.

    Waits until the lane has committed all input, then for the end to be on every partition. The service runs on;
    documents that come later begin where the stream ended.
    """
    from daemon.commands.finish import finish as run

    sys.exit(run(find_config(config_path), now=now, as_json=as_json))


for command in (archive, dead_letters, prepare, score):
    cli.add_command(command)


@cli.group()
def topics() -> None:
    """Compare the topics of the cluster with what the service needs, and make them so."""


@topics.command("check")
@config_option
@json_option
def topics_check(config_path: Path | None, as_json: bool) -> None:
    """Print every difference. Exit code 1 if there are any."""
    from daemon.commands.topics import topics_check as run

    sys.exit(run(find_config(config_path), as_json=as_json))


@topics.command("create")
@config_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--partitions", type=click.IntRange(1), default=4, show_default=True, help="Of each topic that is made.")
@click.option("--replication", type=click.IntRange(1), help="Copies of each topic that is made; else the cluster's.")
def topics_create(config_path: Path | None, yes: bool, partitions: int, replication: int | None) -> None:
    """Make what is missing and set what differs, after showing it. Doing it again changes nothing.

    The journal and the artifacts always get one partition.
    """
    from daemon.commands.topics import topics_create as run

    sys.exit(run(find_config(config_path), yes=yes, num_partitions=partitions, replication_factor=replication or -1))


@cli.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the output."
)
@config_option
@click.option("--field", default="question", show_default=True, help="Field or column that holds a text.")
@click.option(
    "--mode",
    type=click.Choice(["sampled", "decon", "gpt3", "llama"]),
    default="sampled",
    show_default=True,
    help="Rule by which a document holds a text, as in [decontaminate].",
)
@json_option
def find(files: tuple[str, ...], output: Path, config_path: Path | None, field: str, mode: Mode, as_json: bool) -> None:
    """Find texts in the documents of an output, and the sequences that these went into.

    FILE is as INPUT of `curate`: an evaluation set that came later, or any texts, one a row; a file of text is one.
    """
    from daemon.commands.find import find as run

    sys.exit(run(files, output, field=field, mode=mode, config_path=find_config(config_path), as_json=as_json))


@cli.group()
def quality() -> None:
    """Make heads: models that score documents."""


@quality.command("fit")
@click.option("--good", multiple=True, required=True, metavar="INPUT", help="Files of documents that are good.")
@click.option("--bad", multiple=True, required=True, metavar="INPUT", help="Files of documents that are not.")
@click.option("--name", default="quality", show_default=True, help="Name of the head.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The file; else NAME.head.")
@config_option
@json_option
def quality_fit(
    good: tuple[str, ...], bad: tuple[str, ...], name: str, output: Path | None, config_path: Path | None, as_json: bool
) -> None:
    """Fit a head on the n-grams of good and bad documents, and say what it is worth on those that it did not see."""
    from daemon.commands.quality_fit import quality_fit as run

    sys.exit(run(good, bad, name, output, config_path, as_json=as_json))


@cli.group()
def inspect() -> None:
    """Look into state and output: reads only, and damaged data as far as it can be read."""


@inspect.command("state")
@place_option
@config_option
@json_option
def inspect_state(output: Path | None, config_path: Path | None, as_json: bool) -> None:
    """The ledger, what is held, clusters, arms and dead letters. Exit code 65 if something is damaged."""
    from daemon.commands.inspect_state import inspect_state as run

    sys.exit(run(output or service_state(config_path), as_json=as_json))


@inspect.command("dropped")
@place_option
@config_option
@json_option
def inspect_dropped(output: Path | None, config_path: Path | None, as_json: bool) -> None:
    """Every reason for which documents were dropped: how many, and some of them with the beginning of their texts.

    All of them: `curatord curate --verdicts DIR`, or the topic of verdicts.
    """
    from daemon.commands.inspect_dropped import inspect_dropped as run

    sys.exit(run(output or service_state(config_path), as_json=as_json))


@inspect.command("output")
@click.option("-o", "--output", required=True, help="Folder of the output, or its URL.")
@json_option
def inspect_output(output: str, as_json: bool) -> None:
    """Check every shard: readable, dense, no document cut that would have fitted. Exit code 1 if something is wrong."""
    from daemon.commands.inspect_output import inspect_output as run

    sys.exit(run(output, as_json=as_json))


def main() -> None:
    """Run the command; errors of ours end it with one message and their exit code."""
    use_one_thread()
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # the one that `ops.memory` tells to keep memory
    run_guarded(cli)
