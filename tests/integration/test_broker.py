from __future__ import annotations

from kafka import KafkaAdminClient

from tests.integration.broker import Broker


def test_the_shared_broker_answers(broker: Broker):
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as admin:
        assert len(admin.describe_cluster()["brokers"]) >= 1
