"""A process that pages may end: it is made anew, and the page is told."""

from __future__ import annotations

import gc
import os
import signal

import pytest

from curation.acquisition.reader import BOOT, PageReader
from curation.acquisition.records import NoPage
from tests.curation.acquisition.test_main_text import ARTICLE

PAGE = f"<html><body>{ARTICLE}</body></html>".encode()

# A page that names it ends the process, or takes all the time that there is.
DEADLY = BOOT.replace(
    "; main(",
    "; import curation.acquisition.child as child, os, signal; usual = child.read_page; child.MAX_SECONDS = 0.3\n"
    "def deadly(form, raw, *rest):\n"
    "    if b'kill' in raw: os.kill(os.getpid(), signal.SIGKILL)\n"
    "    if b'exit' in raw: os._exit(7)\n"
    "    while b'loop' in raw: pass\n"
    "    return usual(form, raw, *rest)\n"
    "child.read_page = deadly\nmain(",
)


def test_pages_are_read_by_one_process_that_ends_with_its_reader() -> None:
    reader = PageReader(1 << 20)
    first = reader.read("html", PAGE)
    process = reader._process
    assert first.text.count("The first sentence") == 6
    assert reader.read("html", PAGE) == first
    assert process is reader._process is not None
    del reader
    gc.collect()
    assert process.poll() is not None


@pytest.mark.parametrize(("page", "how"), [(b"kill", "SIGKILL"), (b"exit", "exit code 7"), (b"loop", "processor time")])
def test_a_page_that_ends_the_process_costs_itself_alone(page: bytes, how: str) -> None:
    reader = PageReader(1 << 20, boot=DEADLY)
    expected = reader.read("html", PAGE)
    with pytest.raises(NoPage, match=how) as caught:
        reader.read("html", page)
    assert caught.value.reason == "bad_page"
    assert reader.read("html", PAGE) == expected


def test_a_process_that_was_killed_from_outside_costs_no_page() -> None:
    reader = PageReader(1 << 20)
    expected = reader.read("html", PAGE)
    assert reader._process is not None
    os.kill(reader._process.pid, signal.SIGKILL)
    assert reader.read("html", PAGE) == expected


def test_options_reach_the_process() -> None:
    reader = PageReader(1 << 10, ("noai",))
    with pytest.raises(NoPage) as caught:
        reader.read("html", b"x" * 2000)
    assert caught.value.reason == "too_large"
    with pytest.raises(NoPage) as caught:
        reader.read("html", b"<meta name=robots content=noai>")
    assert caught.value.reason == "reserved"


def test_a_fork_reads_by_a_process_of_its_own() -> None:
    reader = PageReader(1 << 20)
    expected = reader.read("html", PAGE)
    child = os.fork()
    if child == 0:
        os._exit(0 if reader.read("html", PAGE) == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert reader.read("html", PAGE) == expected
