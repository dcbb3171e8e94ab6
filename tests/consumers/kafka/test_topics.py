"""Each topic has a name of its own."""

from __future__ import annotations

import msgspec
import pytest

from consumers.kafka.topics import TopicsConfig


def test_two_topics_of_one_name_are_refused_and_named() -> None:
    with pytest.raises(ValueError, match=r"two topics the name 'documents'"):
        TopicsConfig(sequences="documents")


def test_topics_that_are_off_share_no_name() -> None:
    assert TopicsConfig(verdicts="", feedback="").verdicts == ""


@pytest.mark.parametrize("name", ["", "a b", "x" * 250])
def test_a_name_that_no_cluster_takes_is_refused(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"documents": name}, TopicsConfig)
