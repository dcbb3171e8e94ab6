"""Child processes that this one talks to over a pipe, and that import what it would."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection


def begin_child(
    boot: str, *arguments: str, environment: Mapping[str, str] | None = None, is_silent: bool = False
) -> tuple[subprocess.Popen[bytes], Connection]:
    """A process that runs the code `boot`, and this end of its pipe.

    Its arguments are the paths of modules as JSON, the descriptor of its end, then these. What a silent one writes to
    standard error goes nowhere.
    """
    ours, theirs = Pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", boot, json.dumps(sys.path), str(theirs.fileno()), *arguments],
        pass_fds=(theirs.fileno(),),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if is_silent else None,
        env=environment,
    )
    theirs.close()
    return process, ours
