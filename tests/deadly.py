"""`curatord`, with a defect: a document that holds a certain word ends the process, each time, in a way of choice.

python -m tests.deadly WAY curate ...
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon.cli import main
from kernels.columns import Ragged, Texts
from packing.tokenizer import Tokenizer

WORD = "deathcap"


def exhausts() -> None:
    """More memory than the process may have."""
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + (512 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    hoard = []
    while True:
        hoard.append(bytearray(64 << 20))


WAYS: dict[str, Callable[[], object]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "memory": exhausts,
}


def install(way: str) -> None:
    """Make the tokenizer deadly."""
    encode = Tokenizer.encode_batch

    def encode_batch(self: Tokenizer, texts: Texts) -> Ragged[Any]:
        if any(WORD in text for text in texts):
            WAYS[way]()
        return encode(self, texts)

    Tokenizer.encode_batch = encode_batch  # type: ignore[method-assign]


if __name__ == "__main__":
    install(sys.argv.pop(1))
    main()
