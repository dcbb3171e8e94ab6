"""The stages that decide at once: each document of a run ends at the first that rejects it, or is held."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from consumers.broker import RawDocument
from curatord.records import Retraction
from daemon.app import build
from daemon.config import Config
from daemon.pipeline import Pipeline
from daemon.stages.hold_out import SHARD_DOCUMENTS
from state.epoch import Epoch
from state.segments import Verdict, read_segments, verdict_of
from state.store import Store
from tests.simulation.world import WORDS, make_config, tokenizer

Decide = Callable[..., list[Verdict]]


def words(first: int, count: int = 60) -> str:
    return " ".join(WORDS[first : first + count])


def row(position: int, value: dict[str, object] | Retraction) -> RawDocument:
    encoded = value if isinstance(value, Retraction) else msgspec.json.encode(value)
    return RawDocument("input", position, encoded)


class Decider:
    """A pipeline over an empty state, which learns nothing: its warm-up does not end."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.store = Store(folder)
        self.pipeline: Pipeline = build(config, self.store, tokenizer())
        self.epoch = Epoch(number=1, identity="")

    def decide(self, *values: dict[str, object] | Retraction) -> list[Verdict]:
        """The verdicts on all documents so far, once these were read and committed."""
        self.pipeline.process([row(place, value) for place, value in enumerate(values)], self.epoch)
        self.pipeline.gather(self.epoch)
        self.store.apply(self.epoch.changes())
        self.committed, self.epoch = self.epoch, Epoch(number=self.epoch.number + 1, identity="")
        return [verdict_of(segment, place) for segment in read_segments(self.store) for place in range(len(segment))]

    def close(self) -> None:
        self.pipeline.close()
        self.store.close()


@pytest.fixture
def decider(tmp_path: Path) -> Iterator[Callable[..., Decider]]:
    made: list[Decider] = []

    def make(**sections: dict[str, object]) -> Decider:
        made.append(Decider(tmp_path / str(len(made)), make_config(**{"output": {"holdout": 0.0}, **sections})))
        return made[-1]

    yield make
    for each in made:
        each.close()


def outcomes(verdicts: list[Verdict]) -> dict[str, tuple[str, str]]:
    return {verdict.doc_id: (verdict.stage, verdict.reason) for verdict in verdicts}


def test_each_stage_takes_what_the_ones_before_let_pass(decider: Callable[..., Decider]) -> None:
    one = decider(quality={"preset": "gopher"})

    verdicts = one.decide(
        {"id": "first", "text": words(0), "url": "https://a.example/page"},
        {"id": "empty", "text": "   "},
        {"id": "same-text", "text": words(0).replace(" ", "  ") + "\n"},
        {"id": "same-url", "text": words(200), "url": "http://a.example/page"},
        {"id": "too-short", "text": "four words of text"},
        {"id": "near", "text": words(0) + " more"},
        {"id": "other", "text": words(400)},
    )

    assert outcomes(verdicts) == {
        "first": ("", ""),
        "empty": ("documents", "empty"),
        "same-text": ("exact_dedup", "same_text"),
        "same-url": ("exact_dedup", "same_url"),
        "too-short": ("quality", "gopher_too_few_words"),
        "near": ("near_dedup", "near_duplicate"),
        "other": ("", ""),
    }
    by_id = {verdict.doc_id: verdict for verdict in verdicts}
    assert {name: by_id[name].match for name in ("same-text", "same-url", "near")} == dict.fromkeys(
        ("same-text", "same-url", "near"), by_id["first"].doc_no
    )
    assert (by_id["too-short"].value, by_id["too-short"].threshold) == (4.0, 50.0)
    assert by_id["near"].value >= by_id["near"].threshold > 0.5
    # Only accepted documents have tokens, and these are held.
    assert {verdict.doc_id for verdict in verdicts if verdict.num_tokens} == {"first", "other"}
    ledger = one.pipeline.ledger
    assert ledger.tokens_accepted == one.pipeline.held.unemitted_tokens() > 0
    assert (ledger.rows["accepted"], ledger.rows["rejected"]) == (2, 5)


def test_a_document_that_was_taken_back_leaves_every_index(decider: Callable[..., Decider]) -> None:
    one = decider()
    one.decide({"id": "first", "text": words(0), "url": "https://a.example/page"})

    verdicts = one.decide(
        Retraction(id="first", timestamp_us=1),
        {"id": "same-text", "text": words(0)},
        Retraction(id="same-text", timestamp_us=1),
        {"id": "near", "text": words(0) + " more", "url": "https://a.example/page"},
        Retraction(id="late", timestamp_us=10**7),
        {"id": "late", "text": words(300), "timestamp": 1},
    )

    assert outcomes(verdicts) == {
        "first": ("", ""),
        "same-text": ("", ""),
        "near": ("", ""),
        "late": ("documents", "retracted"),
    }
    assert one.pipeline.ledger.rejected_later == {"retracted": 2}


def test_the_share_of_the_holdout_is_kept_as_text_in_shards(decider: Callable[..., Decider]) -> None:
    one = decider(output={"holdout": 0.9999999}, dedup={"near": {"enabled": False}})
    count = SHARD_DOCUMENTS + 2
    documents = [{"id": f"d{number}", "text": f"text {number}", "source": "s"} for number in range(count)]

    verdicts = one.decide(*documents)

    assert set(outcomes(verdicts).values()) == {("holdout", "held_out")}
    assert one.pipeline.ledger.tokens_accepted == 0
    (shard,) = one.committed.holdouts
    assert [holdout.text for holdout in shard] == [f"text {n}" for n in range(SHARD_DOCUMENTS)]
    assert len(list(one.store.items("holdout"))) == 2

    one.pipeline.flush(one.epoch)

    (rest,) = one.epoch.holdouts
    assert [holdout.doc_id for holdout in rest] == [f"d{n}" for n in range(SHARD_DOCUMENTS, count)]
    one.decide()
    assert not list(one.store.items("holdout"))


@pytest.mark.parametrize("polls", [1, 3, 100])
def test_indices_from_facts_decide_as_those_that_grew(decider: Callable[..., Decider], polls: int) -> None:
    """Verdicts are the same for every size of a poll, and after a restore in the middle."""
    documents: list[dict[str, object]] = [
        {"id": f"d{number}", "text": words(number % 7 * 60) + (f" more{number}" if number % 2 else "")}
        for number in range(40)
    ]
    whole = decider().decide(*documents)
    one = decider()
    for start in range(0, 20, polls):
        one.decide(*documents[start : min(start + polls, 20)])
    again = build(make_config(output={"holdout": 0.0}), one.store, tokenizer())
    one.pipeline.close()
    again.restore(one.store)
    one.pipeline = again

    verdicts = one.decide(*documents[20:])

    assert outcomes(verdicts) == outcomes(whole)
    assert [verdict.match for verdict in verdicts] == [verdict.match for verdict in whole]
