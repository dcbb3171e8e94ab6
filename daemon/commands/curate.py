"""`curatord curate`: files in, Parquet out, no server. Run it again with more files and it goes on."""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec

from consumers.broker import RawDocument
from consumers.files.broker import FilesBroker
from consumers.files.destination import Destination, LocalDestination, open_destination
from consumers.files.inputs import InputFile, expand
from consumers.files.prepared_folder import inputs_of as inputs_of_prepared
from consumers.files.prepared_folder import is_prepared
from consumers.files.readers import check_tables
from curatord.errors import StorageError, UsageError
from curatord.folder import SHARD_NAME
from curatord.output_folder import MANIFEST
from curatord.records import Retraction
from daemon.app import build_restored, encode_identity
from daemon.commands.again import begin_again, inputs_of
from daemon.commands.curate_progress import CurateProgress
from daemon.commands.losses import losses
from daemon.commands.manifest import write_manifest
from daemon.commands.read_state import opened_for_reading, refuse_unmasked
from daemon.commands.receipt import tell_receipt
from daemon.commands.screen import INTERRUPTED, show
from daemon.commands.summary import RunNumbers, print_summary, summary
from daemon.config import Config, load_config
from daemon.loop import Hooks, Loop, marked
from daemon.pipeline import Pipeline
from daemon.prepared.identity import prepared_identity
from daemon.prepared.pool import opened_pool
from daemon.signals import Interrupted, StopRequest
from daemon.stages.deciding_options import described, differences
from daemon.stages.mask import ids_as_kept
from kernels.cache import are_compiled
from ops.open_files import raise_open_files
from packing.packer import as_stored
from state.store import STATE_FOLDER, Store, explain_storage, state_folder

VERDICTS_MARK = ".of"  # in a folder of verdicts: the output that they are of
DESTINATION = "destination"  # beside a state: the URL of its shards


@contextmanager
def opened(
    output: Path,
    config: Config,
    progress: CurateProgress,
    *,
    again: Path | None = None,
    verdicts_share: float = 0.0,
) -> Iterator[tuple[Store, Pipeline]]:
    """The state of an output folder and the pipeline over it. A new one, if the inputs of `again` are to be read."""
    try:
        (output / STATE_FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise explain_storage(error, output) from error
        raise StorageError(
            f"the output folder {output} cannot be made: {error.strerror}. Choose another --output, or repair this one"
        ) from error
    store = Store(state_folder(output))
    try:
        if again is not None:
            begin_again(again, store)
        progress.say("Loading" if are_compiled() else "Compiling the kernels, once a machine: about a minute")
        pipeline = build_restored(config, store, progress=progress.teacher, verdicts_share=verdicts_share)
        with closing(pipeline):
            yield store, pipeline
    finally:
        store.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of the command."""

    arguments: Sequence[str]
    output: Path
    config_path: Path | None
    keep_open: bool
    shuffle_seed: int | None
    as_json: bool
    strict: bool
    again: Path | None = None
    verdicts: Path | None = None
    verdicts_share: float = 1.0
    url: str = ""  # where the shards go if not to `output`, which has the state then


def curate_files(options: Options) -> int:
    """Curate the inputs, or those of another output `again`; the exit code, with `strict` 1 where there is a warning.

    With `strict` an input that cannot be opened ends the run before anything is read; else only if all of them cannot.
    The decisions about a share of the documents are written to `verdicts`.
    """
    output, config = options.output, load_config(options.config_path)
    raise_open_files()
    destination = _destination(options)
    passed_over: Counter[str] = Counter()
    left_out: list[str] = []
    inputs = _inputs(options, config, passed_over, left_out)
    verdicts_share = options.verdicts_share if options.verdicts is not None else 0.0
    with (
        StopRequest().installed() as stop,
        CurateProgress(stop) as progress,
        opened(output, config, progress, again=options.again, verdicts_share=verdicts_share) as (store, pipeline),
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="commit") as committing,
        opened_pool(config, pipeline.decide.prepare.tokenizer) as pool,
    ):
        if options.verdicts is not None:
            prepare_folder(options.verdicts, output)
        differing = differences(store, config)
        if differing:
            way_out = f"To decide anew: {decide_anew(output, options.config_path)}"
            progress.tell(described(differing, way_out=way_out))
        prepared_as = prepared_identity(config, pipeline.decide.prepare.tokenizer)
        broker = FilesBroker(inputs, config.input, output, store, options.verdicts, prepared_as, destination)
        identity = encode_identity(config, pipeline.decide.prepare.tokenizer)
        hooks = Hooks(set_aside=_say_set_aside, pool=pool, committing=committing)
        loop = Loop(pipeline, broker, config.daemon, identity, time.monotonic, hooks)
        before = pipeline.ledger.rows_read
        pipeline.compile()
        write_manifest(output, pipeline, complete=False, destination=destination)
        progress.begin(broker, pipeline)
        try:
            with marked(broker.attempts):
                finished = loop.run(stop, flush=not options.keep_open, on_rows=progress.advance)
        except Interrupted:
            finished = False
            loop.settle()  # a commit that was begun counts in what is told of the run, and may have failed
        write_manifest(output, pipeline, complete=finished and not options.keep_open, destination=destination)
        run = RunNumbers(
            rows=pipeline.ledger.rows_read - before,
            seconds=progress.seconds,
            unchanged_inputs=broker.num_unchanged,
            passed_over=passed_over,
            warnings=losses(broker.tallies(), pipeline.ledger.sources, left_out, output),
        )
        result = summary(output, store, pipeline, run)
    if options.as_json:
        click.echo(json.dumps(result.as_dict(), indent=2))
    elif finished:
        print_summary(result, output, options.url or str(output))
    if not finished:
        _say_how_to_go_on(output)
        return INTERRUPTED
    return 1 if options.strict and result.warnings else 0


def _inputs(options: Options, config: Config, passed_over: Counter[str], left_out: list[str]) -> list[InputFile]:
    """The inputs of a run. What a folder holds beside them, and what cannot be opened, is noted."""
    if options.again is None:
        unopened = None if options.strict else left_out
        prepared = [argument for argument in options.arguments if is_prepared(Path(argument))]
        if prepared and len(prepared) < len(options.arguments):
            raise UsageError(f"{prepared[0]} holds prepared rows: curate it by itself, and other inputs by another run")
        if prepared:
            files: dict[str, InputFile] = {}
            for folder in prepared:
                for file in inputs_of_prepared(Path(folder)):
                    files.setdefault(file.uri, file)
            return list(files.values())
        inputs = expand(
            options.arguments, options.shuffle_seed, exclude=options.output, skipped=passed_over, left_out=unopened
        )
    elif options.arguments:
        raise UsageError(
            f"--again reads the inputs of {options.again}: name no others. More can be added by a run after it"
        )
    else:
        inputs = inputs_of(options.again, options.output, options.shuffle_seed)
    unusable = check_tables(inputs, config.input)
    if unusable and (options.strict or len(unusable) == len(inputs)):
        problems = list(unusable.values())
        raise UsageError(
            problems[0] if len(problems) == 1 else "\n  ".join([f"{len(problems)} inputs cannot be used:", *problems])
        )
    return inputs


def refuse_foreign(destination: Destination) -> None:
    """Raise `UsageError` if a reader of the output would take a file for a shard that is none of ours."""
    foreign = sorted(name for name in destination.shards() if not SHARD_NAME.fullmatch(name))
    if foreign:
        raise UsageError(
            f"{destination.name} holds {foreign[0]}"
            + (f" and {len(foreign) - 1} more like it" if len(foreign) > 1 else "")
            + ", which curatord did not write: `load_dataset` would read it with the shards. Move it away, or choose "
            "another --output"
        )


def _destination(options: Options) -> Destination | None:
    """Where shards go if not to the output folder. Raises `UsageError` if it, or that folder, cannot be it."""
    destination = open_destination(options.url) if options.url else None
    refuse_foreign(destination or LocalDestination(options.output))
    if options.url:
        claim(options.output, options.url)
    return destination


def claim(state: Path, url: str) -> None:
    """Note where the shards of a state go. Raises `UsageError` if they went elsewhere before."""
    note = state / STATE_FOLDER / DESTINATION
    known = note.read_text(encoding="utf-8").strip() if note.exists() else ""
    if not known and (state / MANIFEST).exists():
        raise UsageError(f"--state {state} is an output of its own: give another folder, or --output {state}")
    if known and known != url:
        raise UsageError(f"--state {state} belongs to --output {known}: give that, or another folder")
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(url + "\n", encoding="utf-8")


def destination_of(state: Path) -> Destination:
    """Where the shards of a state go."""
    note = state / STATE_FOLDER / DESTINATION
    return open_destination(note.read_text(encoding="utf-8").strip()) if note.exists() else LocalDestination(state)


def prepare_folder(verdicts: Path, output: Path) -> None:
    """The folder for verdicts. Raises `UsageError` if it is not one for those of this output."""
    inside = os.path.realpath(verdicts).startswith(os.path.realpath(output) + os.sep)
    if inside or os.path.realpath(verdicts) == os.path.realpath(output):
        raise UsageError(f"--verdicts {verdicts} lies in the output, which trainers read: give a folder beside it")
    try:
        verdicts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--verdicts {verdicts}: the folder cannot be made: {error.strerror}") from error
    mark = verdicts / VERDICTS_MARK
    name = os.path.realpath(output)
    if not mark.exists():
        if next(verdicts.glob("verdicts-*.parquet"), None) is not None:
            raise UsageError(f"--verdicts {verdicts} holds verdicts already: give an empty folder")
        mark.write_text(name + "\n", encoding="utf-8", errors="surrogateescape")
    elif (other := mark.read_text(encoding="utf-8", errors="surrogateescape").strip()) != name:
        raise UsageError(f"--verdicts {verdicts} holds those of {other}: give another folder")


def decide_anew(output: Path, config_path: Path | None) -> str:
    """The command that decides about the inputs of an output under other options."""
    config = f" -c {shlex.quote(str(config_path))}" if config_path is not None else ""
    return f"curatord curate --again {shlex.quote(str(output))} -o NEW{config}"


def _say_set_aside(source: str, position: int, how: str) -> None:
    show(
        f"Row {position} of {source} ended the processes that worked on it ({how}). It is set aside as a dead letter; "
        "see `curatord dead-letters list`",
        err=True,
    )


def _say_how_to_go_on(output: Path) -> None:
    command = " ".join(["curatord", *sys.argv[1:]])
    show(
        f"Stopped. Everything that was committed is safe in {output}; what is held stays held.",
        "To go on exactly here, run the same command again:",
        f"  {command}",
        err=True,
    )


def retract_documents(doc_ids: Sequence[str], output: Path, config_path: Path | None, *, as_json: bool = False) -> None:
    """Take documents back, as one commit, and print the receipt. Raises `UsageError` where nothing was curated."""
    config = load_config(config_path)
    with opened_for_reading(output) as store:
        # Rows of another length would begin a generation, which this command is not asked for.
        config = msgspec.structs.replace(config, packing=as_stored(config.packing, store))
        refuse_unmasked(store, masks=config.mask.enabled)
    now_us = time.time_ns() // 1000
    with CurateProgress(StopRequest()) as progress, opened(output, config, progress) as (store, pipeline):
        broker = FilesBroker([], config.input, output, store, destination=destination_of(output))
        loop = Loop(
            pipeline, broker, config.daemon, encode_identity(config, pipeline.decide.prepare.tokenizer), time.monotonic
        )
        rows = [RawDocument("", 0, Retraction(id=doc_id, timestamp_us=now_us)) for doc_id in doc_ids]
        pipeline.process(rows, loop.epoch)
        loop.epoch.positions.clear()  # a command is no input that could be read on
        loop.commit()
    tell_receipt(ids_as_kept(doc_ids, config.mask), output, as_json=as_json)
