"""Feedback needs a run and a topic, and nothing is connected before there is something to send."""

from __future__ import annotations

import pickle

import pytest

from curatord.channel import Channel

SEQUENCES = "kafka://host:9092/sequences"


@pytest.mark.parametrize(
    ("url", "topic", "run_id", "is_possible"),
    [
        (SEQUENCES, "", "run", True),
        ("folder", SEQUENCES, "run", True),
        ("folder", "", "run", False),
        (SEQUENCES, "", "", False),
    ],
)
def test_feedback_needs_a_run_and_a_topic(url: str, topic: str, run_id: str, is_possible: bool) -> None:
    channel = Channel(url, topic, {}, run_id, (0, 1))

    assert channel.is_possible is is_possible
    if not is_possible:
        with pytest.raises(ValueError, match="feedback needs a run_id"):
            channel.opened()


def test_a_channel_that_was_never_used_has_lost_nothing_and_travels() -> None:
    channel = pickle.loads(pickle.dumps(Channel(SEQUENCES, "", {}, "run", (1, 2))))

    channel.close()
    assert (channel.dropped, channel.is_possible) == (0, True)
