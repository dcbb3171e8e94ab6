"""Topics as they must be: for records of any allowed size, and never cut where the state would be lost."""

from __future__ import annotations

import pytest

from consumers.kafka.topic_specs import Difference, topic_specs
from consumers.kafka.topics import TopicsConfig


def specs(context_length: int = 4096, **names: str) -> dict[str, dict[str, str]]:
    found = topic_specs(TopicsConfig(**names), context_length=context_length, dead_letter_bytes=1 << 16)
    return {spec.name: spec.options() for spec in found}


def test_the_lanes_own_topics_are_never_cut() -> None:
    for name in ("journal", "artifacts"):
        assert specs()[name]["retention.ms"] == specs()[name]["retention.bytes"] == "-1"


def test_a_topic_that_is_off_is_not_made() -> None:
    assert "verdicts" in specs(verdicts="verdicts")
    assert set(specs(verdicts="", feedback="")) == {"documents", "sequences", "dead-letters", "journal", "artifacts"}


def test_prepared_documents_have_a_topic_like_that_of_the_documents_which_is_cut_by_time_and_size() -> None:
    topics = TopicsConfig(documents="in", prepared="half-way")
    (spec,) = [s for s in topic_specs(topics, context_length=512, dead_letter_bytes=1) if s.name == "half-way"]

    assert spec.like == "in"
    assert 0 < int(spec.options()["retention.ms"]) <= int(specs()["documents"]["retention.ms"])
    assert int(spec.options()["retention.bytes"]) > 0


def test_longer_sequences_need_larger_messages() -> None:
    sizes = [int(specs(context_length)["sequences"]["max.message.bytes"]) for context_length in (128, 65_536, 131_072)]
    assert sizes == sorted(sizes)
    assert sizes[2] > 131_072 * 40


@pytest.mark.parametrize(
    ("difference", "said", "can_be_repaired"),
    [
        (Difference(topic="t", kind="missing", wanted="4 partitions"), "+ t: does not exist", True),
        (Difference(topic="t", kind="option", option="o", found="1", wanted="2"), "~ t: o is 1, must be 2", True),
        (Difference(topic="t", kind="partitions", found="2", wanted="1"), "! t: has 2 partitions, must have 1", False),
        (
            Difference(topic="t", kind="partitions", found="2", wanted="4", num_partitions=4),
            "~ t: has 2 partitions, must have 4",
            True,
        ),
    ],
)
def test_a_difference_says_what_is_and_what_must_be(difference: Difference, said: str, can_be_repaired: bool) -> None:
    assert str(difference).startswith(said)
    assert difference.can_be_repaired is can_be_repaired
