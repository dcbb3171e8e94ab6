"""Survivors on disk and in memory decide like survivors that are all in memory."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.dedup.survivors import Survivors
from kernels import lsh
from tests.kernels.test_lsh import MIN_SIMILARITY, NUM_BANDS, SKETCH_BYTES, Documents, bands_of, families

STEPS = st.lists(
    st.one_of(
        st.integers(1, 60).map(lambda count: ("match", count)),
        st.integers(0, 400).map(lambda doc_no: ("drop", doc_no)),
        st.just(("seal", 0)),
        st.just(("restart", 0)),
    ),
    min_size=5,
    max_size=40,
)


@dataclass
class Lane:
    """An index that is sealed and restarted, with the facts that a restart begins from."""

    folder: Path
    forget_after: int
    index: Survivors = field(init=False)
    manifest: tuple[list[Path], int] = ([], 0)
    tail: dict[int, tuple[bytes, list[int], list[int], int]] = field(default_factory=dict)  # since the last seal
    dropped: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.index = self.fresh()

    def fresh(self) -> Survivors:
        return Survivors(sketch_bytes=SKETCH_BYTES, num_bands=NUM_BANDS, forget_after=self.forget_after)

    def match(self, documents: Documents) -> lsh.Found:
        doc_nos_B = np.arange(documents.first, documents.first + len(documents))
        found = self.index.match(
            lsh.Documents(doc_nos_B, *documents.columns(), np.ones(len(documents), np.bool_)), MIN_SIMILARITY
        )
        bands = bands_of(found)
        for row in np.flatnonzero(found.doc_nos_B < 0).tolist():
            sketch, symbols = documents.sketches_BQ[row].tobytes(), int(documents.symbols_B[row])
            fact = sketch, found.tags_BR[row].tolist(), bands[row], symbols
            self.tail[int(doc_nos_B[row])] = fact
        return found

    def drop(self, doc_no: int) -> bool:
        self.dropped.append(doc_no)
        return self.index.drop(doc_no)

    def seal(self, number: int) -> None:
        self.index.seal(self.folder, number)
        self.index.tier.hold(number % 2 * 10_000)  # some in memory, some not
        self.manifest = [run.path for run in self.index.tier.runs], self.index.num_rows
        self.tail.clear()

    def restart(self) -> None:
        self.index = self.fresh()
        self.index.open(self.folder, *self.manifest, np.array(self.dropped, np.int64))
        self.index.tier.hold(0)
        living = {doc_no: fact for doc_no, fact in self.tail.items() if doc_no not in self.dropped}
        if living:
            self.index.insert(
                np.array(list(living)),
                np.array([list(sketch) for sketch, _, _, _ in living.values()], np.uint8),
                np.array([tags for _, tags, _, _ in living.values()], np.uint32),
                np.array([bands for _, _, bands, _ in living.values()]),
                np.array([symbols for _, _, _, symbols in living.values()], np.uint32),
            )


@pytest.mark.parametrize("forget_after", [0, 70])
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    num_tags=st.sampled_from([5, 30, 300, 1 << 32]),
    steps=STEPS,
    bucket=st.sampled_from([3, 32]),
)
def test_decisions_are_those_of_an_index_in_memory(
    forget_after: int, seed: int, num_tags: int, steps: list[tuple[str, int]], bucket: int
) -> None:
    documents = families(seed, sum(count for kind, count in steps if kind == "match") + 1, num_tags)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lsh, "BUCKET", bucket)
        patch.setattr(lsh, "BUDGET", 2 * bucket)
        lane, plain = Lane(Path(folder), forget_after), Lane(Path(folder), forget_after)
        at = 0
        for number, (kind, value) in enumerate(steps):
            if kind == "match":
                part = documents.take(at, at + value)
                at += value
                found, expected = lane.match(part), plain.match(part)
                for name in ("doc_nos_B", "similarities_B", "tags_BR", "bands_BT"):
                    assert getattr(found, name).tolist() == getattr(expected, name).tolist()
            elif kind == "drop" and value < at:
                assert lane.drop(value) == plain.drop(value)
            elif kind == "seal":
                lane.seal(number)
            elif kind == "restart":
                lane.restart()
            assert len(lane.index) == len(plain.index)


def test_what_was_sealed_and_not_told_of_is_written_over(tmp_path: Path) -> None:
    documents = families(5, 400)
    lane, plain = Lane(tmp_path, 0), Lane(tmp_path, 0)
    lane.match(documents.take(0, 100))
    lane.seal(100)
    told = lane.manifest
    lane.match(documents.take(100, 200))
    lane.seal(200)
    lane.manifest = told
    lane.restart()  # the process ended before its manifest was written
    plain.match(documents.take(0, 100))
    for first in (100, 200, 300):
        part = documents.take(first, first + 100)
        assert lane.match(part).doc_nos_B.tolist() == plain.match(part).doc_nos_B.tolist()
        lane.seal(first + 100)
