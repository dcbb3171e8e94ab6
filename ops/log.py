"""Logs: one JSON object a line on standard output, a fixed event name and its fields; no prose put together.

What can repeat is limited to one line in 10 s for the same event and reason, with a count of those left out.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal

import msgspec
import orjson

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

LIMIT_INTERVAL_S: Final = 10.0
MAX_KEYS: Final = 1000
MAX_TEXT: Final = 2000

LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class LogConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[log]: what the service writes to standard output, one JSON object a line."""

    level: Literal["info", "warning", "error"] = "info"
    """The least important lines to write; "warning" leaves out those of everyday work."""


def open_log(config: LogConfig, file: BinaryIO | None = None) -> FilteringBoundLogger:
    """A logger that writes to `file`, by default standard output. Nothing global is changed."""
    import structlog  # takes long, and the commands read the configuration without it

    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.BytesLogger(file or sys.stdout.buffer),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=_encode),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[config.level]),
    )
    return logger.bind()


def _encode(fields: Any, **_: Any) -> bytes:
    """JSON of any values: a line must never end the process."""
    try:
        line = orjson.dumps(fields, default=repr)
        if line.decode().isprintable():
            return line
        fields = orjson.loads(line)
    except TypeError:  # half a surrogate pair, an integer of more than 64 bits
        pass
    # In ASCII: a terminal obeys controls beyond those that JSON has to escape.
    return json.dumps(fields, default=repr, separators=(",", ":")).replace("\x7f", r"\u007f").encode()


class RateLimit:
    """Lets the first of a kind through, then one in `interval_s`. Thread-safe; `clock` counts seconds.

    With `longest_s` the interval of what goes on and on doubles each time, up to that.

    >>> times = iter([0.0, 1.0, 2.0, 11.0])
    >>> limit = RateLimit(10.0, lambda: next(times))
    >>> [limit.admit("broker_away", "timeout") for _ in range(4)]
    [0, None, None, 2]
    """

    def __init__(self, interval_s: float = LIMIT_INTERVAL_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._lock = threading.Lock()
        # By kind: when it was let through, how many were not since, and for how long none is.
        self._seen: dict[tuple[str, ...], tuple[float, int, float]] = {}

    def admit(self, *kind: str, longest_s: float = 0.0) -> int | None:
        """None if nothing is to be said; else how many of the kind were left out since the last one."""
        now = self._clock()
        with self._lock:
            at, suppressed, silent_s = self._seen.pop(kind, (-float("inf"), 0, 0.0))
            if now - at < silent_s:
                self._seen[kind] = (at, suppressed + 1, silent_s)
                return None
            if len(self._seen) >= MAX_KEYS:
                del self._seen[next(iter(self._seen))]
            next_s = min(2 * silent_s, longest_s) if now - at < 2 * silent_s else 0.0  # else it had stopped
            self._seen[kind] = (now, 0, max(self._interval_s, next_s))
            return suppressed


# kafka-python takes offsets that wait for the end of a transaction, as at any change of owner, for an unknown error.
NO_ERRORS = ("UnstableOffsetCommitError",)


class _LibraryHandler(logging.Handler):
    """Takes what libraries log. kafka-python repeats itself for as long as a broker is away."""

    def __init__(self, log: FilteringBoundLogger, limit: RateLimit) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._limit = limit

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # text and values do not fit: the library's mistake
            message = str(record.msg)
        if any(name in message for name in NO_ERRORS):
            return
        # By the text before its values are put in: those change from line to line.
        suppressed = self._limit.admit("library", record.name, str(record.msg))
        if suppressed is None:
            return
        fields: dict[str, object] = {"logger": record.name, "message": message[:MAX_TEXT]}
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = repr(record.exc_info[1])[:MAX_TEXT]
        if suppressed:
            fields["suppressed"] = suppressed
        self._log.log(max(record.levelno, logging.WARNING), "library_message", **fields)


@contextmanager
def libraries_log_to(log: FilteringBoundLogger, limit: RateLimit | None = None) -> Iterator[None]:
    """For a while, what libraries log from WARNING on goes to our log, and nowhere else."""
    root, chatty = logging.getLogger(), logging.getLogger("kafka")
    handler = _LibraryHandler(log, limit or RateLimit())
    handlers, levels = root.handlers[:], (root.level, chatty.level)
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    chatty.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        chatty.setLevel(levels[1])
