"""A scorer's share and writer without a cluster; with one: tests/integration/test_score.py."""

from __future__ import annotations

import pytest

from consumers.kafka.connection import KafkaConfig
from consumers.kafka.probe_share import ProbeShare, RewardWriter
from curatord.errors import BrokerUnavailable
from curatord.records import Reward

NOWHERE = KafkaConfig(bootstrap_servers="127.0.0.1:1", request_timeout_s=1.0)


def test_no_rewards_need_no_cluster() -> None:
    writer = RewardWriter(NOWHERE, "feedback")
    writer.send([])
    writer.close()


def test_a_cluster_that_is_not_there_can_be_tried_again() -> None:
    with pytest.raises(BrokerUnavailable):
        RewardWriter(NOWHERE, "feedback").send([Reward(reward=1.0, doc_id="a", scorer="influence", checkpoint=1)])
    with pytest.raises(BrokerUnavailable):
        ProbeShare(NOWHERE, "probes")
