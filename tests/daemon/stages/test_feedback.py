"""The join of a report with where its segments came from: what counts, and what is not believed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from consumers.broker import RawFeedback
from curation.selection.loss_curves import Curve
from curation.selection.rewards import CURVES
from curatord.records import EndRequest, Feedback, Reward, SafePoint, encode_feedback
from curatord.sequence import EndOfStream
from daemon.app import build
from daemon.pipeline import Pipeline
from packing.placements import PLACEMENTS, PlacementIndex, Placements
from state.assignments import Assignments
from state.document_numbers import make_numbers
from state.epoch import Epoch
from state.store import Store
from tests.kept import changes_of
from tests.simulation.world import REWARDED, make_config, tokenizer


def new_epoch(number: int = 1) -> Epoch:
    return Epoch(number=number, identity="{}")


def put_block(epoch: Epoch, generation: int, first: int, num_segments: list[int], cluster: int) -> None:
    """One fact; the start of segment i of the block is i, so that heads are told apart."""
    segments = sum(num_segments)
    fact = Placements(
        generation=generation,
        first_seq_no=first,
        num_segments=np.array(num_segments, np.uint32).tobytes(),
        doc_nos=np.arange(segments, dtype=np.int64).tobytes(),
        starts=np.arange(segments, dtype=np.uint32).tobytes(),
        lengths=np.ones(segments, np.uint32).tobytes(),
        numbers=make_numbers(np.full(segments, cluster), 0, 0.5).tobytes(),
    )
    PLACEMENTS.put(epoch, (generation, first), fact)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "state")
    yield store
    store.close()


@pytest.fixture
def pipeline(store: Store) -> Iterator[Pipeline]:
    pipeline = build(
        make_config(bandit={**REWARDED}, dead_letters={"max_bytes": 4}),
        store,
        tokenizer(),
    )
    yield pipeline
    pipeline.close()


def report(first_seq_no: int, num_segments: list[int], sums: list[float], targets: list[int], step: int = 0) -> bytes:
    return encode_feedback(
        Feedback(
            run_id="run",
            step=step,
            rank=0,
            world=1,
            policy_version_min=0,
            policy_version_max=0,
            generation=0,
            first_seq_no=first_seq_no,
            stride=1,
            num_segments=np.array(num_segments, "<u2").tobytes(),
            sum_nll=np.array(sums, "<f4").tobytes(),
            num_targets=np.array(targets, "<u4").tobytes(),
        )
    )


def learn(pipeline: Pipeline, epoch: Epoch, *values: bytes | None) -> dict[int, Curve]:
    """The curves of the only run, by cluster, after these messages."""
    pipeline.learn_from([RawFeedback("feedback-0", at, value) for at, value in enumerate(values)], epoch)
    changes = changes_of(pipeline.compose.rewards)
    return {cluster: curve for (_, cluster), curve in CURVES.changed(changes) if curve is not None}


def test_segments_of_sequences_across_blocks_store_and_generations(store: Store) -> None:
    committed, opened = new_epoch(1), new_epoch(2)
    put_block(committed, 0, 0, [2, 0, 1], cluster=1)
    put_block(committed, 0, 3, [1, 4], cluster=2)
    put_block(committed, 1, 0, [5], cluster=3)
    store.apply(committed.changes())
    put_block(opened, 1, 1, [3], cluster=4)
    index = PlacementIndex(store)

    placed = index.find(0, np.array([0, 1, 2, 4, 5, 10**12]), opened)

    assert placed.num_segments_N.tolist() == [2, 0, 1, 4, -1, -1]
    assert placed.numbers_S["cluster"].tolist() == [1, 1, 1, 2, 2, 2, 2]
    assert placed.starts_S.tolist() == [0, 1, 2, 1, 2, 3, 4]
    assert placed.numbers_S["propensity"].tolist() == [0.5] * 7
    assert index.find(1, np.array([0, 1, 2]), opened).numbers_S["cluster"].tolist() == [3] * 5 + [4] * 3
    assert index.find(2, np.array([0]), opened).num_segments_N.tolist() == [-1]
    assert index.find(0, np.zeros(0, np.int64), opened).numbers_S["cluster"].tolist() == []


def test_the_cluster_of_a_document_is_that_of_its_tick(store: Store) -> None:
    committed, opened = new_epoch(1), new_epoch(2)
    assignments = Assignments(store)
    assignments.put(np.array([3, 4, 9]), np.array([7, 8, 7], np.int32), committed)
    store.apply(committed.changes())
    assignments.put(np.array([12, 500]), np.array([1, 2], np.int32), opened)
    found = [assignments.find(doc_no, opened) for doc_no in (2, 3, 4, 5, 9, 11, 12, 500, 501)]
    assert found == [None, 7, 8, None, 7, None, 1, 2, None]


def test_only_heads_with_a_loss_that_can_be_are_learned_from(pipeline: Pipeline) -> None:
    epoch = new_epoch()
    for first in range(6):
        put_block(epoch, 0, first, [2], cluster=first)
    sums = [256.0, 1e9, float("nan"), 5.0, float("inf"), 5.0, -1.0, 5.0, 300.0, 5.0, 1e30, 5.0]
    targets = [256, 256, 256, 256, 256, 256, 256, 256, 0, 256, 256, 256]

    curves = learn(pipeline, epoch, report(0, [2] * 6, sums, targets))

    assert {cluster: (curve.weight, curve.y) for cluster, curve in curves.items()} == {0: (2.0, 2.0), 5: (2.0, 40.0)}
    assert pipeline.compose.rewards.counts.sequences_learned == 6
    assert epoch.positions == {"feedback-0": 1}


def test_a_sequence_with_another_number_of_segments_is_not_believed_but_its_neighbours_are(pipeline: Pipeline) -> None:
    epoch = new_epoch()
    put_block(epoch, 0, 0, [1], cluster=1)
    put_block(epoch, 0, 1, [3], cluster=2)
    put_block(epoch, 0, 2, [1], cluster=3)

    curves = learn(pipeline, epoch, report(0, [1, 2, 1, 7], [256.0, 1, 1, 512.0, *[9.0] * 7], [256] * 11))

    assert {cluster: curve.y for cluster, curve in curves.items()} == {1: 2.0, 3: 4.0}
    counts = pipeline.compose.rewards.counts
    assert (counts.sequences_learned, counts.sequences_mismatched, counts.sequences_unknown) == (2, 1, 1)
    assert counts.learned == 1


def test_every_message_moves_the_position_and_what_cannot_be_read_is_kept_bounded(pipeline: Pipeline) -> None:
    epoch = new_epoch()
    values = (None, b"garbage", report(5, [1], [1.0], [1]), encode_feedback(Reward(reward=1.0, cluster=4)))

    learn(pipeline, epoch, *values, encode_feedback(Reward(reward=1.0, doc_id="never read")))

    assert epoch.positions == {"feedback-0": 5}
    assert [(letter.reason, letter.original, letter.position) for letter in epoch.dead_letters] == [
        ("feedback_empty", b"", 0),
        ("feedback_unreadable", b"garb", 1),
    ]
    counts = pipeline.compose.rewards.counts
    assert (counts.dead, counts.unknown_sequences, counts.unknown_cluster, counts.unknown_document) == (2, 1, 1, 1)
    pipeline.gather(epoch)
    assert sorted(epoch.facts["dead_letters"]) == [bytes(8), bytes(7) + b"\x01"]


def test_what_is_no_feedback_is_taken_while_the_bandit_is_off_and_an_end_without_documents_is_one(store: Store) -> None:
    pipeline = build(make_config(packing={"batch_quantum": 4}), store, tokenizer())
    epoch = new_epoch()
    end = encode_feedback(EndRequest(end_of_stream=True))
    point = encode_feedback(SafePoint(run_id="run", generation=0, safe_seq_no=3))

    learn(pipeline, epoch, end, point, end, b'{"end_of_stream": false}')

    assert epoch.end == EndOfStream(0, 0)
    assert not epoch.sequences
    counts = pipeline.compose.rewards.counts
    assert (counts.end_request, counts.safe_point, counts.dead, counts.unused) == (2, 1, 1, 0)
    assert epoch.positions == {"feedback-0": 4}
    pipeline.gather(epoch)
    assert list(epoch.facts["safe_points"]) == [b"run"]
    pipeline.close()
