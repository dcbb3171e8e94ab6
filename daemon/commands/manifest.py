"""The manifest of an output folder: what readers of its shards look at first, and where they end."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from consumers.files.destination import Destination
from curatord import __version__
from curatord.output_folder import MANIFEST
from daemon.pipeline import Pipeline
from packing.tokenizer import example_of_loss

MAX_ENDS = 100  # of a generation, that the manifest remembers


def write_manifest(output: Path, pipeline: Pipeline, *, complete: bool, destination: Destination | None = None) -> None:
    """Write the manifest for readers of the shards, atomically; also to a `destination` that is another place.

    `complete`: everything was flushed, so that readers stop here. Ends are never taken back: those that read on several
    machines must all stop at the same one, also when another run goes on meanwhile.
    """
    path = output / MANIFEST
    ends = _ends(path)
    if complete:
        known = ends.setdefault(str(pipeline.compose.packer.generation), [])
        end = pipeline.compose.packer.num_given_out
        if end not in known:
            known.append(end)
        del known[:-MAX_ENDS]
    tokenizer, packing, generations = (
        pipeline.decide.prepare.tokenizer,
        pipeline.config.packing,
        pipeline.compose.packer.generations,
    )
    manifest = {
        "curatord": __version__,
        "tokenizer": tokenizer.name,
        "tokenizer_digest": f"{tokenizer.digest:016x}",
        "vocabulary_size": tokenizer.vocabulary_size,
        "bos_id": tokenizer.bos_id,
        "eos_id": tokenizer.eos_id,
        "lossless": tokenizer.lossless,
        "loss": None if (loss := example_of_loss(tokenizer)) is None else asdict(loss),
        "generation": pipeline.compose.packer.generation,
        "context_length": generations[-1].context_length if generations else packing.context_length,
        "batch_quantum": packing.batch_quantum,
        "ends": ends,
        "sequences": pipeline.ledger.sequences,
        "tokens": pipeline.ledger.tokens_emitted_first + pipeline.ledger.tokens_emitted_again,
    }
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    if destination is not None:
        shutil.copyfile(path, unfinished)
        destination.put(unfinished, MANIFEST)  # behind the shards that it tells of
        destination.sync()


def _ends(path: Path) -> dict[str, list[int]]:
    """Where runs ended before, by generation: the `seq_no` that would have come next."""
    try:
        ends: dict[str, list[int]] = json.loads(path.read_bytes())["ends"]
    except (FileNotFoundError, ValueError, KeyError):
        return {}
    return ends
