"""A lead over the limit is told once, until it was below."""

from __future__ import annotations

import logging

import pytest

from curatord.lead import LeadWatch


def test_a_lead_is_told_each_time_it_passes_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    watch = LeadWatch("kafka://host:9092/sequences", limit=10)

    with caplog.at_level(logging.WARNING, "curatord"):
        for lead in (10, 11, 500, 3, 12):
            watch.see(lead)

    assert [record.getMessage().split(":9092/")[1][:20] for record in caplog.records] == [
        "sequences is 11 sequ",
        "sequences is 12 sequ",
    ]
