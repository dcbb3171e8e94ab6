"""Each partition of documents needs one of prepared documents."""

from __future__ import annotations

import pytest

from consumers.kafka.prepared_writer import check_counts
from consumers.kafka.topics import TopicsConfig
from curatord.errors import ConfigError

TOPICS = TopicsConfig(documents="in", prepared="half-way")


def test_fewer_partitions_than_the_documents_are_refused_with_both_numbers() -> None:
    check_counts(TOPICS, 4, 4)
    check_counts(TOPICS, 4, 6)  # the documents follow
    with pytest.raises(ConfigError, match=r"half-way has 3 partitions, in has 4: .*`curatord topics create`"):
        check_counts(TOPICS, 4, 3)
