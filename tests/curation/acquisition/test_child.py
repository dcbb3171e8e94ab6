"""The bounds of a process that reads pages: of memory, and of time for each page by itself."""

from __future__ import annotations

import pytest

from curation.acquisition.reader import BOOT, PageReader
from curation.acquisition.records import NoPage

GREEDY = BOOT.replace(
    "; main(",
    "; import curation.acquisition.child as child; child.MAX_MEMORY = 1 << 30; child.MAX_SECONDS = 0.4\n"
    "def greedy(form, raw, *rest):\n"
    "    import time\n"
    "    from curation.acquisition.page import Text\n"
    "    end = time.process_time() + 0.2\n"
    "    while raw == b'slow' and time.process_time() < end: pass\n"
    "    return Text(str(len(bytes(2 << 30))) if raw == b'much' else 'read')\n"
    "child.read_page = greedy\nmain(",
)


def test_a_page_that_takes_too_much_memory_ends_the_process_and_not_the_machine() -> None:
    reader = PageReader(1 << 20, boot=GREEDY)
    with pytest.raises(NoPage, match="ended"):
        reader.read("html", b"much")
    assert reader.read("html", b"").text == "read"


def test_the_time_of_a_page_is_its_own() -> None:
    reader = PageReader(1 << 20, boot=GREEDY)
    assert [reader.read("html", b"slow").text for _ in range(5)] == ["read"] * 5
