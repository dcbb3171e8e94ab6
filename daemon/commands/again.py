"""`curatord curate --again OLD`: the inputs of an output are read once more, under other options, into a new output.

Nothing of what OLD decided counts but its retractions: what was taken back stays away.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from consumers.files.broker import inputs_read
from consumers.files.inputs import InputFile, expand
from curatord.errors import UsageError
from daemon.commands.read_state import opened_for_reading
from daemon.commands.screen import show
from state.common_facts import TOMBSTONES
from state.epoch import Epoch
from state.facts import RAW, single
from state.store import Store

_AGAIN = single("again", RAW)  # the output whose inputs are read
MAX_NAMED = 20


def inputs_of(old: Path, output: Path, shuffle_seed: int | None) -> list[InputFile]:
    """The inputs that were read into `old`, in that order; changed ones are named.

    Raises `UsageError` naming every input that cannot be read again.
    """
    if os.path.realpath(old) == os.path.realpath(output):
        raise UsageError(f"--again reads the inputs of {old} into a new output: give another --output")
    with opened_for_reading(old) as store:
        known = inputs_read(store)
    if not known:
        raise UsageError(f"nothing was ever read into {old}")
    streams = [uri for uri in known if uri.startswith("stdin:")]
    try:
        files = expand([uri for uri in known if uri not in streams], shuffle_seed, exclude=output, literal=True)
    except UsageError as error:
        raise UsageError(_cannot(old, [*map(_stream, streams), str(error)])) from error
    if streams:
        raise UsageError(_cannot(old, list(map(_stream, streams))))
    changed = [
        file.uri for file in files if (known[file.uri].size, known[file.uri].mtime_ns) != (file.size, file.mtime_ns)
    ]
    if changed:
        more = [f"  and {len(changed) - MAX_NAMED} more"] if len(changed) > MAX_NAMED else []
        show(
            f"curatord: {len(changed)} of {len(files)} inputs changed since they were read into {old}; they are read "
            "as they are now:",
            *(f"  {uri}" for uri in changed[:MAX_NAMED]),
            *more,
            err=True,
        )
    return files


def _stream(uri: str) -> str:
    return f"{uri}: standard input cannot be read again"


def _cannot(old: Path, problems: Sequence[str]) -> str:
    return (
        f"not every input of {old} can be read again:\n  " + "\n  ".join(problems) + "\n"
        "Put them back; or, to go on without them, name the inputs yourself: curatord curate INPUT... --output NEW"
    )


def begin_again(old: Path, store: Store) -> None:
    """Give a new state the retractions of the old one, before anything is read. Doing it again is harmless.

    Raises `UsageError` if the state is that of anything else.
    """
    came_from = _AGAIN.get(store, None)
    name = os.fsencode(os.path.realpath(old))
    if came_from == name and store.committed() is not None:
        return  # stopped in the middle, and the same command once more
    if came_from not in (None, name) or store.committed() is not None:
        raise UsageError(
            f"--again begins a new output, and {store.folder.parent.parent} holds something already: give another "
            "--output"
        )
    with opened_for_reading(old) as before:
        tombstones = list(TOMBSTONES.items(before))
    changes = Epoch(number=0, identity="")
    _AGAIN.put(changes, None, name)
    for key, retracted_at in tombstones:
        TOMBSTONES.put(changes, key, retracted_at)
    store.apply(changes.changes())
