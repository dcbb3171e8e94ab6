"""`curatord score` beside a lane, on a real broker: requests go out, rewards come back and count once."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, trainers
from tokenizers.pre_tokenizers import ByteLevel

from consumers.formats.feedback import decode_feedback
from consumers.formats.probes import decode_probe
from curatord.records import Reward, encode_feedback
from tests.curation.scoring.models import VOCABULARY, save_model
from tests.integration.broker import Broker
from tests.integration.lane import Instance, Lane, run
from tests.integration.world import produce_documents, read_topic, wait_until

SETTINGS = """
[daemon]
epoch_s = 0.25
[embedding]
warmup_documents = 64
[clusters]
min_clusters = 2
initial_clusters = 4
max_clusters = 8
[bandit]
enabled = true
reward = ["influence", "tests.curation.scoring.test_scorers:lengths"]
probe_ratio = 0.1
[packing]
context_length = 512
pool_documents = 60
shuffle_block_rows = 16
"""
WORDS = ("red green blue", "one two three four", "north south east west", "do re mi fa so la")
FUNCTION = "tests.curation.scoring.test_scorers:lengths"


@pytest.fixture
def lane(broker: Broker, prefix: str, tmp_path: Path) -> Lane:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [], trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<eos>"], initial_alphabet=alphabet)
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    chosen = f'[tokenizer]\nname = "{tmp_path / "tokenizer.json"}"\neos_token = "<eos>"\n'
    lane = Lane(broker.bootstrap, prefix, tmp_path, SETTINGS + chosen, is_scored=True, session_timeout_s=10.0)
    lane.create_topics()
    return lane


def _feed(lane: Lane, first: int, number: int = 1200) -> None:
    rng = random.Random(first)
    documents = [
        {"id": f"d{n}", "text": " ".join(rng.choices(WORDS[n % 4].split(), k=40)), "source": "s"}
        for n in range(first, first + number)
    ]
    produce_documents(lane.bootstrap, lane.topics["documents"], documents)


@pytest.fixture
def scorer(lane: Lane, tmp_path: Path) -> Iterator[Instance]:
    reference = tmp_path / "reference.jsonl"
    reference.write_text("".join(json.dumps({"text": f"a text of the reference, number {n}"}) + "\n" for n in range(3)))
    options = ("--model", str(tmp_path / "model"), "--reference", str(reference), "--device", "cpu")
    (tmp_path / "model").mkdir()
    names = ("--scorer", "influence", "--scorer", FUNCTION)
    scorer = Instance(lane, "scorer", lane.bootstrap, command="score", arguments=(*options, *names))
    yield scorer
    scorer.kill()


def _save(lane: Lane, name: str, written_s: float) -> None:
    """A checkpoint that is whole when it appears, as a trainer's is that renames it."""
    save_model(lane.folder / name, written_s=written_s)
    os.rename(lane.folder / name, lane.folder / "model" / name)


def _rewards(lane: Lane) -> list[Reward]:
    records = [decode_feedback(record.value) for record in read_topic(lane.bootstrap, lane.topics["feedback"])]
    return [record for record in records if isinstance(record, Reward)]


def _answered(lane: Lane, scorer: str, checkpoint: int) -> set[str]:
    return {r.doc_id or "" for r in _rewards(lane) if (r.scorer, r.checkpoint) == (scorer, checkpoint)}


def _wanted(lane: Lane, daemon: Instance, num_documents: int) -> set[str]:
    """The documents that the lane has asked for when it has read so many."""
    wait_until(lambda: daemon.metric("curatord_documents_total") >= num_documents, f"{num_documents} documents")
    return {decode_probe(record.value).doc_id for record in read_topic(lane.bootstrap, lane.topics["probes"])}


def _is_answered(lane: Lane, scorer: str, checkpoint: int, wanted: set[str]) -> bool:
    return _answered(lane, scorer, checkpoint) >= wanted


def test_requests_are_answered_once_by_the_newest_checkpoint_also_after_a_kill(lane: Lane, scorer: Instance) -> None:
    daemon = Instance(lane, "daemon", lane.bootstrap)
    daemon.start()
    scorer.start()
    try:
        daemon.wait_for("became_owner")
        _feed(lane, 0)
        wanted = _wanted(lane, daemon, 1200)
        scorer.wait_for("scorer_failed")
        _save(lane, "checkpoint-1", 1000.0)
        scorer.wait_for("checkpoint_loaded")
        for name in ("influence", FUNCTION):
            wait_until(partial(_is_answered, lane, name, 1_000_000, wanted), f"rewards by {name}")
        wait_until(lambda: daemon.metric("curatord_feedback_total") >= 2 * len(wanted), "feedback")
        assert scorer.get("/readyz")[0] == 200
        assert scorer.metric("curatord_scored_total") == len(wanted)

        # The worker dies before it says that it answered: all of it comes again, and counts once.
        produce_documents(
            lane.bootstrap, lane.topics["feedback"], [encode_feedback(reward) for reward in _rewards(lane)]
        )
        total = 4 * len(wanted)
        wait_until(lambda: daemon.metric("curatord_feedback_total") >= total, "feedback once more")
        _, metrics = daemon.get("/metrics")
        assert f'curatord_feedback_total{{outcome="duplicate"}} {total / 2}' in metrics

        scorer.kill()
        _save(lane, "checkpoint-2", 2000.0)
        _feed(lane, 1200)
        scorer.start()
        later = _wanted(lane, daemon, 2400) - wanted
        assert later
        wait_until(lambda: _answered(lane, "influence", 2_000_000) >= later, "rewards by the newer checkpoint")
        assert scorer.stop() == 0
        assert daemon.stop() == 0
    finally:
        daemon.kill()


def test_a_lane_that_asks_for_nothing_has_no_scorers(broker: Broker, prefix: str, tmp_path: Path) -> None:
    lane = Lane(broker.bootstrap, prefix, tmp_path)
    answer = run("score", "-c", lane.config("scorer", broker.bootstrap), "--scorer", FUNCTION)
    assert "topics.probes is empty" in str(answer.exception)
