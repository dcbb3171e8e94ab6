"""A process that reads pages for another, within bounds of time and memory, and may end over one."""

from __future__ import annotations

import resource
import signal
from contextlib import suppress
from multiprocessing.connection import Connection

import msgspec

from curation.acquisition.page import read_page
from curation.acquisition.records import NoPage

MAX_SECONDS = 20  # of processor time, of one page: ten thousand times the usual
MAX_MEMORY = 4 << 30  # bytes of addresses


def main(descriptor: int, max_bytes: int, refused: tuple[str, ...]) -> None:
    """Answer pages with texts until the parent leaves. Beyond its time a page ends the process by SIGPROF."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with Connection(descriptor) as parent, suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            form, raw, content_type = msgspec.msgpack.decode(parent.recv_bytes(), type=tuple[str, bytes, str])
            signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
            try:
                answer: tuple[object, ...] = (True, *read_page(form, raw, content_type, max_bytes, refused))
            except NoPage as error:
                answer = (False, error.reason, str(error))
            signal.setitimer(signal.ITIMER_PROF, 0)
            parent.send_bytes(msgspec.msgpack.encode(answer))
