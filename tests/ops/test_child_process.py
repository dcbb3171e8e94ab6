"""A child has the modules, the arguments and the pipe that it was begun with."""

from __future__ import annotations

import sys

import pytest

from ops.child_process import begin_child

BOOT = (
    "import json, os, sys; from multiprocessing.connection import Connection; "
    "Connection(int(sys.argv[2])).send((json.loads(sys.argv[1]), sys.argv[3:], os.environ.get('GIVEN')))"
)


def test_a_child_answers_over_its_pipe_with_what_it_was_given() -> None:
    process, pipe = begin_child(BOOT, "a", "b", environment={"GIVEN": "yes"})

    with pipe:
        assert pipe.recv() == (sys.path, ["a", "b"], "yes")
    assert process.wait(30) == 0


def test_a_silent_child_tells_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    process, pipe = begin_child("import sys; sys.exit('unseen')", is_silent=True)

    with pipe:
        assert process.wait(30) == 1
    assert capfd.readouterr().err == ""
