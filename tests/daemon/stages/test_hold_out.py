"""Held-out documents: chosen by their ids, written in whole shards, and not lost between commits."""

from __future__ import annotations

import numpy as np

from curatord.records import Document
from daemon.stages.hold_out import SHARD_DOCUMENTS, HoldOut
from state.epoch import Epoch
from tests.arrived import arrivals_of
from tests.kept import Kept

NUMBERS = range(SHARD_DOCUMENTS + 3)
DOCUMENTS = arrivals_of([Document(id=f"d{number}", text=f"text {number}") for number in NUMBERS]).documents


def test_the_share_is_about_kept_and_a_document_is_chosen_in_every_run() -> None:
    keys_B = np.random.default_rng(0).integers(0, 2**63, 20_000).astype(np.uint64)
    chosen_B = HoldOut(0.1, 7).chosen(keys_B)
    assert abs(chosen_B.mean() - 0.1) < 0.01
    assert (HoldOut(0.1, 7).chosen(keys_B[::2]) == chosen_B[::2]).all()
    assert not HoldOut(0.0, 7).chosen(keys_B).any()


def test_a_shard_goes_out_when_it_is_full_and_the_rest_after_a_restart() -> None:
    hold_out, kept, epoch = HoldOut(0.1, 0), Kept(), Epoch(number=1, identity="")
    for number in NUMBERS:
        hold_out.keep(DOCUMENTS, number, epoch)
    assert [len(shard) for shard in epoch.holdouts] == [SHARD_DOCUMENTS]
    hold_out.withdraw(f"d{SHARD_DOCUMENTS + 1}")
    kept.commit(hold_out)

    again, later = HoldOut(0.1, 0), Epoch(number=2, identity="")
    kept.restore(again)
    assert len(again) == 2
    again.flush(later)
    (shard,) = later.holdouts
    assert [(holdout.number, holdout.doc_id) for holdout in shard] == [
        (SHARD_DOCUMENTS, f"d{SHARD_DOCUMENTS}"),
        (SHARD_DOCUMENTS + 2, f"d{SHARD_DOCUMENTS + 2}"),
    ]
    again.flush(later)
    assert len(later.holdouts) == 1
