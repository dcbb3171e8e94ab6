"""The documents of an id, from sealed files alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curation.dedup.manifest import NOTHING_SEALED, manifest_of, sealed_under
from state.store import Store
from tests.curation.dedup.test_sealing import Lane


def test_every_document_of_an_id_is_found_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert manifest_of(store) == NOTHING_SEALED
    lane = Lane(store)
    for number, ids in enumerate((["a", "b", "\ud800"], ["c", "a"], ["a"], ["d"])):
        lane.come(ids)
        if number < 3:
            lane.indices.seal(lane.next_doc_no)
    assert sealed_under(store, "a") == [0, 4, 5]
    assert [sealed_under(store, doc_id) for doc_id in ("b", "\ud800", "d", "e")] == [[1], [2], [], []]
    assert manifest_of(store).documents == 6
    store.close()


def test_a_withheld_document_is_found_in_its_place(tmp_path: Path) -> None:
    store = Store(tmp_path)
    lane = Lane(store)
    lane.come(["a", "b", "a"], withheld_B=np.array([True, False, False]))
    lane.indices.seal(3)
    assert sealed_under(store, "a") == [0, 2]
    store.close()
