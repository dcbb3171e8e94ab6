"""Two daemons of one lane, two workers before them, everything that can go wrong: the world sees none of it.

`make torture` does it for long.
"""

from __future__ import annotations

from pathlib import Path

from tests.integration.maven_broker import MavenBroker
from tests.integration.torture import torture

NUM_FAULTS = 6


def test_after_all_faults_nothing_is_lost_and_nothing_doubled(
    own_broker: MavenBroker, prefix: str, tmp_path: Path
) -> None:
    report = torture(own_broker, tmp_path, prefix, seed=4, num_faults=NUM_FAULTS, num_workers=2, pause_s=2.0)

    assert report.anomalies == []
    assert sum(report.faults.values()) == NUM_FAULTS
