"""A trial: work that may end the process, done in a copy of it first.

The copy is a fork: it has everything in memory that the work needs, and what it changes there is its own. It says which
item it is at before it begins it, so that the last it said is the one that ended it, and the exit status tells how: the
one thing that only a parent learns. What works on other threads is not in the copy, so nothing in a trial may
wait for one; a copy that says nothing for long is given up, and proves nothing.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NoReturn, TypeVar

import msgspec

from consumers.broker import RawDocument, RawFeedback
from consumers.formats.columns import TableRow
from consumers.formats.undecodable import TOOK_PROCESS_DOWN
from curatord.errors import CuratordError, Undecodable
from curatord.records import Document, Retraction

Item = TypeVar("Item")

COPIES = 3  # that are made, until one says a word
SILENCE_S = 60.0
BEAT_S = 1.0
MAX_HOW_CHARACTERS = 300
_FAILED, _BLAMELESS = 70, 71  # exit codes of the copy
_SET_DEATH_SIGNAL = 1  # prctl(2)


@dataclass(frozen=True, slots=True)
class Fatal:
    """The item that ended the copy, and how."""

    index: int
    how: str  # "signal 9 (SIGKILL)", "exit code 3", "MemoryError: ..."


def first_fatal(
    items: Sequence[Item], work: Callable[[Item], object], *, beat: Callable[[], None] = lambda: None
) -> Fatal | None:
    """Do the work for one item after another in a copy of this process; the item that ends it, or None.

    None also where the copy ended with an error of ours, which says nothing against the item, or was silent for too
    long. A copy that ends before its first word, as one whose fork failed within, is made anew. `beat` is called once a
    second or so, here.
    """
    for _ in range(COPIES):
        code, lines = _heard_of_copy(items, work, beat)
        if code == 0 or lines[0]:
            break
    if code in (None, 0, _BLAMELESS) or not lines[0]:
        return None
    at = [line for line in lines if line.isdecimal()]
    raised = next((line[1:] for line in lines if line.startswith("!")), "")
    return Fatal(int(at[-1]), raised or how_it_ended(code))


def _heard_of_copy(
    items: Sequence[Item], work: Callable[[Item], object], beat: Callable[[], None]
) -> tuple[int | None, list[str]]:
    """The exit code of a copy, None for one that was silent for too long, and the lines that it said."""
    reading, writing = os.pipe()
    copy = os.fork()
    if copy == 0:
        _work_as_copy(items, work, writing)
    os.close(writing)
    # `select` takes no descriptor beyond 1,023, and a large state has many files open.
    to_hear = select.poll()
    to_hear.register(reading, select.POLLIN)
    said = bytearray()
    has_ended = False
    try:
        heard_at = beaten_at = time.monotonic()
        while not has_ended and time.monotonic() - heard_at < SILENCE_S:
            if to_hear.poll(1000 * BEAT_S):
                heard_at = time.monotonic()
                part = os.read(reading, 1 << 16)
                has_ended = not part
                said += part
            if time.monotonic() - beaten_at >= BEAT_S:
                beaten_at = time.monotonic()
                beat()
    finally:
        os.close(reading)
        if not has_ended:
            os.kill(copy, signal.SIGKILL)
        _, status = os.waitpid(copy, 0)
    code = os.waitstatus_to_exitcode(status) if has_ended else None
    return code, said.decode("utf-8", "replace").split("\n")


def how_it_ended(code: int) -> str:
    """The exit code of a process in words; negative for a signal."""
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"signal {-code}"


def _work_as_copy(items: Sequence[Item], work: Callable[[Item], object], writing: int) -> NoReturn:
    """In the copy: name each item and work on it, then leave without cleaning up what is the parent's."""
    code = _FAILED
    try:
        become_expendable()
        for index in range(len(items)):
            os.write(writing, b"%d\n" % index)
            work(items[index])
        code = 0
    except CuratordError:
        code = _BLAMELESS
    except BaseException as error:
        text = f"{type(error).__name__}: {error}".replace("\n", " ")[:MAX_HOW_CHARACTERS]
        os.write(writing, f"!{text}\n".encode("utf-8", "replace"))
    finally:
        os._exit(code)


def become_expendable() -> None:
    """This process dies with its parent, before it where memory runs out, and never by Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, int(signal.SIGKILL))
        with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")


IN_A_TRIAL = "the process ended over it in two lives, and a copy of it in a trial"
IN_A_POOL = "two processes that had it alone to prepare ended over it"


def verdict(how: str, *, has_original: bool = False, story: str = IN_A_TRIAL) -> Undecodable:
    """The reason of a row that was set aside, for its dead letter."""
    return Undecodable(
        TOOK_PROCESS_DOWN,
        f"{story}: {how}. Everything else goes on. This is a defect of curatord or of a library, or wants more memory: "
        "report it with this row, and replay it when that is repaired",
        has_original=has_original,
    )


def set_feedback_aside(record: RawFeedback, how: str) -> RawFeedback:
    """The message as one that is not worked on."""
    return replace(record, problem=verdict(how))


def set_aside(row: RawDocument, how: str, story: str = IN_A_TRIAL) -> RawDocument:
    """The row as one that is not worked on, with as much of it as a dead letter may carry."""
    value, original = row.value, row.original
    if isinstance(value, bytes):
        original = value
    elif isinstance(value, (Document, TableRow)):
        original = msgspec.json.encode(value if isinstance(value, Document) else value.document())
    elif isinstance(value, Retraction):
        original = value.id.encode("utf-8", "replace")
    found = verdict(how, has_original=isinstance(value, bytes), story=story)
    return msgspec.structs.replace(row, value=found, original=original)
