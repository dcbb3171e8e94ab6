"""Stacks: where every thread is, on a signal, for an operator who looks at a process that hangs.

`faulthandler.register` would read the frames within the signal's handler, while other threads change them, which once
in a thousand times ended the process. Here a thread of its own does it, which holds the interpreter: the others stand
still. It is woken by the interpreter's own handler, so that the main thread may be busy in a library meanwhile.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO


def format_stacks() -> str:
    """The stacks of all threads but this one, innermost call last."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    # Lines of the sources are looked up later: reading files lets the other threads run on.
    stacks = {
        ident: traceback.StackSummary.extract(traceback.walk_stack(frame), lookup_lines=False)
        for ident, frame in sys._current_frames().items()
        if ident != threading.get_ident()
    }
    parts = []
    for ident, stack in stacks.items():
        stack.reverse()
        parts.append(f"Thread {names.get(ident, 'of a library')} ({ident:#x}):\n{''.join(stack.format())}")
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return f"Stacks of {len(parts)} threads at {at}, innermost call last\n" + "".join(parts)


@contextmanager
def stacks_on(number: signal.Signals, file: TextIO) -> Iterator[None]:
    """For a while, write the stacks to `file` whenever the signal comes. Main thread only."""
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    handler = signal.signal(number, lambda _number, _frame: None)  # only a signal that is handled wakes
    wakeup = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=_write_when_woken, args=[woken, number, file], name="stacks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        signal.signal(number, handler)
        waker.close()
        thread.join()
        woken.close()


def _write_when_woken(woken: socket.socket, number: signal.Signals, file: TextIO) -> None:
    while numbers := woken.recv(4096):
        if number in numbers:
            with suppress(OSError, ValueError):  # without a reader
                file.write(format_stacks())
                file.flush()
