"""Reads pages in a process of its own, which a page may end without taking this one along.

The process begins with the first page, and ends with this one. A page that ends two, or takes too long in one, is none.
"""

from __future__ import annotations

import os
import signal
import subprocess
import weakref
from collections.abc import Sequence
from multiprocessing.connection import Connection

import msgspec

from curation.acquisition.child import MAX_SECONDS
from curation.acquisition.page import Text
from curation.acquisition.records import NoPage
from ops.child_process import begin_child

TRIES = 2
BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from curation.acquisition.child import main; "
    "main(int(sys.argv[2]), int(sys.argv[3]), tuple(sys.argv[4:]))"
)


class PageReader:
    """Pages to texts, one at a time."""

    def __init__(self, max_bytes: int, refused: Sequence[str] = (), boot: str = BOOT) -> None:
        self._arguments = (str(max_bytes), *refused)
        self._boot = boot
        self._owner = -1  # the process that began the other: a fork begins its own
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def read(self, form: str, raw: bytes, content_type: str = "") -> Text:
        """As `curation.acquisition.page.read_page`. Raises `NoPage`."""
        code = 0
        for _ in range(TRIES):
            pipe = self._pipe if self._owner == os.getpid() and self._pipe is not None else self._begin()
            try:
                # Nothing is unpickled of a process that reads pages of strangers.
                pipe.send_bytes(msgspec.msgpack.encode((form, raw, content_type)))
                is_text, *answer = msgspec.msgpack.decode(pipe.recv_bytes())
            except (EOFError, OSError):
                code = self._end()
                if code == -signal.SIGPROF:
                    raise NoPage("bad_page", f"not read after {MAX_SECONDS} seconds of processor time") from None
                continue
            if is_text:
                return Text(*answer)
            raise NoPage(*answer)
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise NoPage("bad_page", f"a page that ended {TRIES} processes which read it by {how}: a defect of a library")

    def _begin(self) -> Connection:
        self._process, self._pipe = begin_child(self._boot, *self._arguments, is_silent=True)
        self._owner = os.getpid()
        weakref.finalize(self, _let_go, self._owner, self._process)
        return self._pipe

    def _end(self) -> int:
        """Let go of the process; its exit code."""
        pipe, process = self._pipe, self._process
        self._pipe = self._process = None
        if pipe is not None:
            pipe.close()
        if process is None:
            return 0
        try:
            return process.wait(1)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def _let_go(owner: int, process: subprocess.Popen[bytes]) -> None:
    """End the process, if it is one of this process and still there."""
    if owner == os.getpid() and process.poll() is None:
        process.kill()
        process.wait()
