"""Sources of rewards: which names are taken, and which keep sources apart."""

from __future__ import annotations

import pytest

from curation.selection.reward_sources import check_sources, default_source_floor, is_damped
from curatord.errors import ConfigError
from daemon.config import parse_config


def test_rewards_that_say_nothing_of_sources_leave_each_its_half() -> None:
    for reward in (["rules"], ["progress"], ["web"], ["rules", "web", "progress"]):
        assert default_source_floor(reward, ["web"]) == 0.5
        assert is_damped(reward, ["web"])
    for reward in (["target"], ["similarity", "rules"], ["influence"], ["progress", "scorer"]):
        assert default_source_floor(reward, ["web"]) == 0.0
        assert not is_damped(reward, ["web"])


def test_a_name_that_is_nearly_known_is_refused_and_another_is_that_of_a_scorer() -> None:
    check_sources(["influence", "perplexity", "web"], ["web"], has_target=False)
    with pytest.raises(ValueError, match="did you mean 'progress'"):
        check_sources(["progres"], [], has_target=False)
    with pytest.raises(ValueError, match="did you mean 'legal_texts'"):
        check_sources(["legal_text"], ["legal_texts"], has_target=False)
    with pytest.raises(ValueError, match=r"say in target.files"):
        check_sources(["target"], [], has_target=False)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"enabled": True}, "name the sources of rewards in bandit.reward"),
        ({"enabled": True, "reward": ["target"]}, "target.files"),
        ({"enabled": True, "reward": ["tarket"]}, "did you mean 'target'"),
    ],
)
def test_every_command_that_reads_a_configuration_refuses_it(section: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config({"bandit": section}, "curatord.toml")
