"""A right that is lacking is named with the command that grants it."""

from __future__ import annotations

import pytest
from kafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError

from consumers.kafka.connection import KafkaConfig
from consumers.kafka.rights import check_described, no_right, topic_rights
from consumers.kafka.topics import TopicsConfig
from curatord.errors import AccessRefused

CONFIG = KafkaConfig(lane="web")


def test_topics_that_are_off_need_no_rights() -> None:
    assert set(topic_rights(TopicsConfig(verdicts="", feedback=""))) == {
        "documents",
        "sequences",
        "dead-letters",
        "journal",
        "artifacts",
    }


def test_all_rights_that_lack_are_told_at_once() -> None:
    described = {
        "journal": {"error_code": 0, "authorized_operations": ["READ", "DESCRIBE"]},
        "documents": {"error_code": TopicAuthorizationFailedError.errno},
        "sequences": {"error_code": 0, "authorized_operations": ["WRITE", "DESCRIBE_CONFIGS"]},
        "artifacts": {"error_code": 0},  # an old broker does not say
    }

    with pytest.raises(AccessRefused) as refused:
        check_described(CONFIG, described, topic_rights(TopicsConfig()))

    message = str(refused.value)
    assert "no right to write topic journal" in message
    assert "no right to describe and read topic documents" in message
    assert "--topic journal" in message
    assert "sequences" not in message
    assert "artifacts" not in message


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (GroupAuthorizationFailedError(), "--operation Read --group web"),
        (TopicAuthorizationFailedError({"documents"}), "--operation Read --topic documents"),
    ],
)
def test_a_request_that_was_refused_names_the_resource(error: Exception, named: str) -> None:
    assert named in str(no_right(CONFIG, error))
