"""Pool: rows prepared by processes of this machine, given back in the order in which they were handed over.

A thread of the pool minds each process. Where a process ends over its rows, a new one gets them one by one; a row that
ends two by itself is set aside, and costs nothing else.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress

from numba.core import config as numba_config

from consumers.broker import PreparedRow, RawDocument
from consumers.formats.prepared import decode_message
from consumers.trial import IN_A_POOL, how_it_ended, set_aside
from curatord.errors import CuratordError, StateError
from daemon.config import Config
from daemon.prepared.child import FAILED
from daemon.prepared.identity import prepared_identity
from ops.blas import VARIABLES
from ops.child_process import begin_child
from packing.tokenizer import Tokenizer

MAX_ANSWER = 1 << 40  # bytes: it was bounded by the rows
FATAL = 2  # processes that end over a row alone, after which it is set aside
BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from daemon.prepared.child import main; main(int(sys.argv[2]))"
)


class ChildEnded(Exception):
    """A process ended over the rows that it had."""


class Child:
    """One process. Any of its calls raises `ChildEnded` if it is no more."""

    def __init__(self, config: Config, boot: str) -> None:
        environment = {**os.environ, **dict.fromkeys(VARIABLES, "1")}
        if numba_config.CACHE_DIR:
            environment["NUMBA_CACHE_DIR"] = str(numba_config.CACHE_DIR)
        self.process, self._parent = begin_child(boot, environment=environment)
        try:
            self._parent.send(config)
            answer = self._parent.recv_bytes()
        except (EOFError, OSError) as error:
            self.close()
            # No fault of the state: memory may have run out, and be there at the next start.
            raise CuratordError(
                f"a process that prepares rows ended before it began, {self._how()}. Start again; if that was for want "
                "of memory, with fewer daemon.processes"
            ) from error
        if answer.startswith(FAILED):
            self.close()
            raise StateError(f"a process that prepares rows cannot begin: {answer[1:].decode()}")

    def prepare(self, rows: Sequence[RawDocument]) -> bytes | None:
        """A message with the rows; None if an error was raised over one of them."""
        try:
            self._parent.send(rows)
            answer = self._parent.recv_bytes()
        except (EOFError, OSError) as error:
            raise ChildEnded(self._how()) from error
        return None if answer.startswith(FAILED) else answer

    def _how(self) -> str:
        return how_it_ended(self.process.wait())

    def kill(self) -> None:
        """End it; a call that waits for it raises. On any thread."""
        with suppress(ProcessLookupError):
            self.process.kill()

    def close(self) -> None:
        """Let go of it, when no call waits for it any more."""
        self.kill()
        self.process.wait()
        self._parent.close()


class Pool:
    """So many processes, which begin when they are needed."""

    def __init__(self, config: Config, processes: int, identity: str, boot: str = BOOT) -> None:
        self.processes = processes
        self._config = config
        self._identity = identity
        self._boot = boot
        # Processes inherit it: a request to stop that comes to all is for the parent, also while they begin.
        blocking = signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM)
        self._threads = ThreadPoolExecutor(processes, "prepare", signal.pthread_sigmask, blocking)
        self._own = threading.local()
        self._children: list[Child] = []
        self._is_closed = False

    def prepare(self, rows: Sequence[RawDocument]) -> Future[list[RawDocument]]:
        """The same rows prepared, in their order.

        Rows that are prepared already come back as they are, and those over which an error is raised.
        """
        if any(isinstance(row.value, PreparedRow) for row in rows):
            done: Future[list[RawDocument]] = Future()
            done.set_result(list(rows))
            return done
        return self._threads.submit(self._prepare, rows)

    def _prepare(self, rows: Sequence[RawDocument]) -> list[RawDocument]:
        with suppress(ChildEnded):
            return self._together(rows)
        return [prepared for row in rows for prepared in self._alone(row)]

    def _alone(self, row: RawDocument) -> list[RawDocument]:
        how = ""
        for _ in range(FATAL):
            try:
                return self._together([row])
            except ChildEnded as ended:
                how = str(ended)
        return [set_aside(row, how, IN_A_POOL)]

    def _together(self, rows: Sequence[RawDocument]) -> list[RawDocument]:
        """Raises `ChildEnded`, and the next call has a new process."""
        try:
            message = self._child().prepare(rows)
        except ChildEnded:
            self._children.remove(self._own.child)
            self._own.child.close()
            self._own.child = None
            raise
        if message is None:
            return list(rows)
        return decode_message(message, self._identity, "the answer of a process", max_bytes=MAX_ANSWER).rows

    def _child(self) -> Child:
        """That of this thread."""
        child: Child | None = getattr(self._own, "child", None)
        if child is None:
            if self._is_closed:
                raise StateError("the pool is closed")
            child = self._own.child = Child(self._config, self._boot)
            self._children.append(child)
        return child

    def close(self) -> None:
        """End the processes, with all that they are at."""
        self._is_closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in self._children:
            child.kill()
        self._threads.shutdown()
        for child in self._children:
            child.close()


@contextmanager
def opened_pool(config: Config, tokenizer: Tokenizer) -> Iterator[Pool | None]:
    """The pool that a configuration asks for, for a while; None where it asks for none."""
    if not config.daemon.processes:
        yield None
        return
    pool = Pool(config, config.daemon.processes, prepared_identity(config, tokenizer))
    try:
        yield pool
    finally:
        pool.close()
