from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from curation.scoring.scorers import Scorers
from curatord.errors import ConfigError
from curatord.records import Probe
from daemon.config import Config, parse_config
from daemon.scoring.service import Options, answers, check_options, first_tokens, read_reference
from packing.tokenizer import TokenizerConfig, open_tokenizer

FUNCTION = "tests.daemon.scoring.test_service:halves"
BANDIT = {"enabled": True, "reward": ["influence"]}
ON = parse_config({"topics": {"probes": "probes"}, "bandit": BANDIT}, "test")


def halves(texts: list[str]) -> list[float]:
    return [len(text) / 2 if text else float("nan") for text in texts]


def _options(**changes: object) -> Options:
    return Options(
        **{
            "config_path": None,
            "model": None,
            "reference": None,
            "scorers": (),
            "damping": 0.1,
            "device": "",
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (Config(), {}, "topics.probes is empty"),
        (
            parse_config({"topics": {"probes": "p", "feedback": ""}, "bandit": BANDIT}, "test"),
            {},
            "topics.feedback is empty",
        ),
        (ON, {"scorers": ("influence",)}, "--model FOLDER"),
        (ON, {"scorers": ("perplexity",), "model": Path("no such folder")}, "is no folder"),
    ],
)
def test_missing_parts_are_named_before_anything_begins(config: Config, changes: dict[str, object], message) -> None:
    with pytest.raises(ConfigError, match=message):
        check_options(config, _options(**changes))


def test_a_function_needs_neither_model_nor_reference() -> None:
    check_options(ON, _options(scorers=(FUNCTION,)))


def test_a_reference_is_any_input_with_texts(tmp_path: Path) -> None:
    path = tmp_path / "wanted.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in ("one", " ", "two ä")) + "no json\n")
    assert read_reference(path, ON) == ["one", "two ä"]
    path.write_text("")
    with pytest.raises(ConfigError, match="holds no text"):
        read_reference(path, ON)


def test_texts_become_the_tokens_that_the_trainer_gets() -> None:
    tokenizer = open_tokenizer(TokenizerConfig())
    tokens = first_tokens(tokenizer, "Guten Tag, 世界")
    assert tokenizer.decode(tokens) == "Guten Tag, 世界"
    assert tokens[-1] == tokenizer.eos_id


def test_every_request_ends_as_one_outcome() -> None:
    scorers = Scorers((FUNCTION,), [], damping=0.1, failed=lambda *why: None)
    probes = [
        Probe(doc_id=f"d{n}", cluster=0, policy_version=0, num_tokens=num_tokens, text=text)
        for n, (num_tokens, text) in enumerate(((3, "four"), (1, ""), (9, "")))
    ]
    outcomes: Counter[str] = Counter()
    (reward,) = answers(scorers, probes, outcomes)
    assert (reward.doc_id, reward.reward, reward.scorer, reward.checkpoint) == ("d0", 2.0, FUNCTION, 0)
    assert outcomes == {"scored": 1, "short": 1, "failed": 1}
