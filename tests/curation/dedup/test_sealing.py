"""Sealing: indices that were sealed, killed and opened again decide like indices that are all in memory."""

from __future__ import annotations

import errno
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from curation.dedup import merging, sealing
from curation.dedup.exact import ExactDedup, ExactDedupConfig, Keys
from curation.dedup.hash_index import hash_keys
from curation.dedup.key_index import IdIndex
from curation.dedup.manifest import FOLDER, manifest_of, sealed_under
from curation.dedup.near import NearDedup, NearDedupConfig
from curation.dedup.retracted import Retracted
from curation.dedup.sealing import Indices
from curatord.errors import StateError, StorageError
from kernels.columns import join_texts
from ops.catalogue import Metric
from state.store import Store
from tests.curation.dedup.test_near import similar_pages

MEMORY = 64 << 20


def new_indices(store: Store, memory: int = MEMORY) -> Indices:
    retracted = Retracted()
    near, exact = NearDedup(NearDedupConfig()), ExactDedup(ExactDedupConfig(), retracted)
    return Indices(store=store, ids=IdIndex(retracted), exact=exact, near=near, retracted=retracted, memory=memory)


@dataclass
class Lane:
    """Indices to which documents come, each with a text of its own."""

    store: Store
    indices: Indices = field(init=False)
    next_doc_no: int = 0
    facts: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.indices = new_indices(self.store)
        self.next_doc_no = self.indices.open(np.zeros(0, np.int64))

    def come(self, ids: Sequence[str], withheld_B: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Documents of these ids; the earlier one of the same text of each."""
        doc_nos_B = np.arange(self.next_doc_no, self.next_doc_no + len(ids))
        keys_B2 = hash_keys([doc_id.encode("utf-8", "surrogatepass") for doc_id in ids])
        self.indices.ids.note(keys_B2, doc_nos_B, np.zeros(len(ids), np.bool_) if withheld_B is None else withheld_B)
        keys = Keys(texts_B2=keys_B2, urls_B2=np.zeros_like(keys_B2))
        self.next_doc_no += len(ids)
        return self.indices.exact.find_duplicates(doc_nos_B, keys).by_text_B

    def match(self, texts: list[str]) -> list[int]:
        """Near-duplicates of these texts, and nothing else of them."""
        doc_nos_B = np.arange(self.next_doc_no, self.next_doc_no + len(texts))
        signatures_BU, has_words_B = self.indices.near.sign(join_texts(texts))
        matches = self.indices.near.match(doc_nos_B, signatures_BU, has_words_B)
        self.next_doc_no += len(texts)
        return matches.doc_nos_B.tolist()


def test_a_budget_of_memory_says_how_many_documents_are_in_memory(tmp_path: Path) -> None:
    store = Store(tmp_path)
    indices = new_indices(store, 16 << 20)
    assert indices.hot_documents == (8 << 20) // sealing.HOT_BYTES
    assert not indices.is_due(indices.hot_documents - 1)
    assert indices.is_due(indices.hot_documents)
    assert new_indices(store, 1 << 40).hot_documents == sealing.MAX_HOT_DOCUMENTS
    store.close()


def test_texts_are_matched_in_files_as_in_memory(tmp_path: Path) -> None:
    texts = similar_pages()
    store, other = Store(tmp_path / "a"), Store(tmp_path / "b")
    lane, plain = Lane(store), Lane(other)
    for first in range(0, len(texts), 120):
        part = texts[first : first + 120]
        assert lane.match(part) == plain.match(part)
        lane.indices.seal(lane.next_doc_no)
        if first == 240:
            lane = Lane(store)  # a restart
            assert lane.next_doc_no == 360
    assert sum(match >= 0 for match in plain.match(texts)) == len(texts)
    store.close()
    other.close()


def test_files_that_no_manifest_names_are_deleted_and_what_they_told_of_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    lane = Lane(store)
    lane.come(["a", "b"])
    lane.indices.seal(2)
    lane.come(["c"])
    with monkeypatch.context() as patch:
        patch.setattr(store, "apply", lambda changes: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):  # the process is killed between the files and the manifest
            lane.indices.seal(3)
    lane = Lane(store)
    assert lane.next_doc_no == 2
    named = manifest_of(store).names()
    assert {path.name for path in (tmp_path / FOLDER).glob("*.run")} == named
    assert lane.come(["b", "c", "c"]).tolist() == [1, -1, 3]
    store.close()


def test_files_of_merges_that_did_not_end_are_deleted_at_the_next_start(tmp_path: Path) -> None:
    store = Store(tmp_path)
    lane = Lane(store)
    lane.come(["a", "b"])
    lane.indices.seal(2)
    left = tmp_path / FOLDER / "ids-2.0123abcd.merging"
    left.write_bytes(b"half of a run")
    assert Lane(store).come(["b"]).tolist() == [1]
    assert not left.exists()
    store.close()


def test_a_disk_that_is_full_for_a_merge_is_told_when_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    lane = Lane(store)
    with monkeypatch.context() as patch:
        patch.setattr(merging, "_write_rows", failing_in_a_merge(merging._write_rows))
        for names in ("ab", "cd"):
            lane.come(list(names))
            lane.indices.seal(lane.next_doc_no)
        while not lane.indices.ids.tier.has_merged():
            time.sleep(0.01)
        with pytest.raises(StorageError, match="is full"):
            lane.indices.take_merged()
    lane = Lane(store)
    assert lane.come(list("abcd")).tolist() == [0, 1, 2, 3]
    store.close()


def failing_in_a_merge(write: Callable[..., Any]) -> Callable[..., Any]:
    """The disk has room for a new run, and none for what runs become."""

    def write_or_fail(*arguments: Any) -> Any:
        if arguments[-1] is not None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*arguments)

    return write_or_fail


def test_a_manifest_without_its_files_counts_for_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    lane = Lane(store)
    lane.come(["a", "b"])
    lane.match(similar_pages()[:30])
    lane.indices.seal(lane.next_doc_no)
    next((tmp_path / FOLDER).glob("texts-*.run")).unlink()
    lane = Lane(store)
    assert lane.next_doc_no == 0
    assert lane.come(["a"]).tolist() == [-1]
    store.close()


def test_a_reader_that_saw_the_manifest_before_still_finds_its_files(tmp_path: Path) -> None:
    store = Store(tmp_path)
    lane = Lane(store)
    for doc_id in "abcd":
        before = manifest_of(store).names()
        lane.come([doc_id])
        lane.indices.seal(lane.next_doc_no)
        assert before <= {path.name for path in (tmp_path / FOLDER).iterdir()}
        before = manifest_of(store).names()
        settled(lane.indices)
        assert before <= {path.name for path in (tmp_path / FOLDER).iterdir()}
    assert len(list((tmp_path / FOLDER).glob("ids-*.run"))) <= 4
    store.close()


def settled(indices: Indices) -> None:
    """Take the runs that are merged by now."""
    deadline = time.monotonic() + 1
    while not indices.has_merged() and time.monotonic() < deadline:
        time.sleep(0.01)
    indices.take_merged()


def test_memory_is_told_and_the_budget_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    indices = new_indices(store, 16 << 20)
    rng = np.random.default_rng(0)
    count = indices.hot_documents
    for first in range(0, 4 * count, count):
        keys_B2 = rng.integers(0, 1 << 64, (count, 2), dtype=np.uint64)
        doc_nos_B = np.arange(first, first + count)
        indices.ids.note(keys_B2, doc_nos_B, np.zeros(count, np.bool_))
        indices.exact.find_duplicates(doc_nos_B, Keys(texts_B2=keys_B2, urls_B2=keys_B2))
        signatures_BU = rng.integers(0, 256, (count, 256 + 4 * 65), dtype=np.uint8)
        indices.near.match(doc_nos_B, signatures_BU, np.ones(count, np.bool_))
        assert indices.num_bytes() <= 16 << 20
        indices.seal(first + count)
    measured = indices.measured()
    assert measured[Metric.INDEX_BYTES] == indices.num_bytes()
    assert len(indices.near.survivors) == 4 * count
    store.close()


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """One bit of what is used of a file is another."""
    damaged = bytearray(content)
    damaged[int(rng.integers(len(content.rstrip(b"\0"))))] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


@pytest.mark.parametrize("kind", ["ids-", "texts-", "tags-", "survivors", "sketches"])
def test_a_bit_that_flipped_on_the_disk_changes_no_decision_unseen(tmp_path: Path, kind: str) -> None:
    texts, ids = similar_pages()[:300], [f"id-{number}" for number in range(2000)]
    store = Store(tmp_path / "whole")
    lane = Lane(store)
    lane.come(ids)
    lane.match(texts)
    lane.indices.seal(lane.next_doc_no)
    lane = Lane(store)
    decided = lane.match(texts), lane.come(ids).tolist(), sealed_under(store, "id-7")
    store.close()
    rng, told = np.random.default_rng(1), 0
    for number in range(20):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", folder)
        (path,) = (path for path in (folder / FOLDER).iterdir() if path.name.startswith(kind))
        path.write_bytes(flipped(path.read_bytes(), rng))
        store, why = Store(folder), ""
        lane = Lane(store)
        try:
            if lane.next_doc_no:  # else the indices are made anew
                assert (lane.match(texts), lane.come(ids).tolist(), sealed_under(store, "id-7")) == decided
        except StateError as error:
            why = str(error)
            shutil.rmtree(path.parent)
        told += bool(why) or not lane.next_doc_no
        assert not why or re.search(rf"{kind}.* is damaged: .* delete the folder {path.parent}", why)
        assert not why or Lane(store).next_doc_no == 0
        store.close()
    assert told >= 5  # of the others nothing was read that counts
