"""Facts of sampled documents, and what reading them costs to import."""

from __future__ import annotations

import subprocess
import sys

from packing.sampled import SAMPLED, Sampled
from state.epoch import Epoch


def test_a_sampled_document_is_read_as_it_was_written() -> None:
    epoch = Epoch(number=1, identity="")

    SAMPLED.put(epoch, 7, Sampled(b"numbers", b"vector"))

    assert [SAMPLED.value.decode(fact) for fact in epoch.facts["held"].values()] == [Sampled(b"numbers", b"vector")]


def test_reading_what_is_held_compiles_nothing() -> None:
    modules = "packing.sampled, packing.placements, packing.pieces, packing.rows"
    code = f"import sys, {modules}; sys.exit('numba' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
