"""Work tried in a copy of this process: which item ends it, and how."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from consumers import trial
from consumers.trial import Fatal, first_fatal
from curatord.errors import StateError


def ends_at_three(how: Callable[[], object]) -> Callable[[int], object]:
    return lambda item: how() if item == 3 else None


def raises(error: BaseException) -> Callable[[], object]:
    def end() -> None:
        raise error

    return end


@pytest.mark.parametrize(
    ("end", "how"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "signal 9 (SIGKILL)"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "signal 11 (SIGSEGV)"),
        (os.abort, "signal 6 (SIGABRT)"),
        (lambda: os._exit(9), "exit code 9"),
        (raises(MemoryError("no room")), "MemoryError: no room"),
        (raises(ValueError("12\n13")), "ValueError: 12 13"),
        (raises(SystemExit(0)), "SystemExit: 0"),
    ],
)
def test_the_item_that_ends_the_copy_is_found_with_its_end(end: Callable[[], object], how: str) -> None:
    fatal = first_fatal([1, 2, 3, 4], ends_at_three(end))

    assert fatal is not None
    assert (fatal.index, fatal.how) == (2, how)


def test_what_the_copy_does_is_not_done_here() -> None:
    done: list[int] = []

    assert first_fatal([1, 2, 3], done.append) is None
    assert done == []


def test_an_error_of_ours_says_nothing_against_the_item() -> None:
    assert first_fatal([3], ends_at_three(raises(StateError("damaged")))) is None


def test_an_error_that_cannot_be_told_ends_the_copy_and_never_leaves_it() -> None:
    class Untold(Exception):
        def __str__(self) -> str:
            raise MemoryError

    process = os.getpid()
    try:
        fatal = first_fatal([1, 2, 3], ends_at_three(raises(Untold())))
    except BaseException:
        if os.getpid() != process:
            os._exit(0)
        raise

    assert fatal == Fatal(2, "exit code 70")


def test_a_copy_that_hangs_is_given_up_and_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "SILENCE_S", 0.2)
    monkeypatch.setattr(trial, "BEAT_S", 0.05)
    beats: list[int] = []

    assert first_fatal([3], ends_at_three(signal.pause), beat=lambda: beats.append(1)) is None
    assert len(beats) > 1


def test_a_copy_is_not_stopped_by_what_asks_this_process_to_stop() -> None:
    def stopped_from_outside(item: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

    assert first_fatal([1, 2], stopped_from_outside) is None


@pytest.mark.parametrize(("num_failing", "is_found"), [(1, True), (2, True), (3, False)])
def test_a_copy_that_ends_before_its_first_word_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_failing: int, is_found: bool
) -> None:
    def fail_or_become_expendable() -> None:
        copies = len(list(tmp_path.iterdir()))
        (tmp_path / str(copies)).touch()
        if copies < num_failing:
            os.kill(os.getpid(), signal.SIGSEGV)

    monkeypatch.setattr(trial, "become_expendable", fail_or_become_expendable)

    fatal = first_fatal([1, 2, 3], ends_at_three(os.abort))

    assert (fatal is not None) is is_found


def test_a_process_with_many_open_files_tries_rows_as_any_other() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.skip("this machine lets a process open too few files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        assert first_fatal([1, 2, 3], lambda item: None) is None
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
