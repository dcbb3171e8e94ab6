"""The soft limit of open files goes up to the hard one."""

from __future__ import annotations

import subprocess
import sys

LOWER_THEN_RAISE = """
import resource
from ops.open_files import raise_open_files
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard if hard == resource.RLIM_INFINITY else min(hard, 4096)))
raised = raise_open_files()
assert raised == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
print(raised)
"""


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    done = subprocess.run([sys.executable, "-c", LOWER_THEN_RAISE], capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 4096
