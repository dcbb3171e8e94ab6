"""Growth: what a document costs the indices, in time, memory and disk, as a lane comes to tens of millions of them.

    python -m benchmarks.growth FOLDER [--documents 30000000] [--memory BYTES] [--in-memory]

One process feeds the indices with signatures and keys made from the number of a document, so that any of them can be
made again. One document in 20 is a copy of any earlier one, drawn at random over all, with a similarity from 0.85 to 1;
one in 50 has the text of an earlier one. Every commit is sealed when it is due, as the pipeline does. CPU time of the
loop's thread; `merges` is that of the others. `looked at`: entries and sketches a document, of near-duplicates. FOLDER
takes about 600 bytes a document, and is to be deleted afterwards.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xxhash
from numba import njit, uint32, uint64
from numpy.typing import NDArray

from curation.dedup.exact import ExactDedup, ExactDedupConfig, Keys
from curation.dedup.key_index import IdIndex
from curation.dedup.manifest import FOLDER, IDS, manifest_of
from curation.dedup.near import NearDedup, NearDedupConfig, join_signatures
from curation.dedup.retracted import Retracted
from curation.dedup.run_file import RunFile
from curation.dedup.sealing import Indices
from kernels.minhash import count_tags
from state.store import Store

COMMIT = 5_000
COPY_EVERY = 20
SAME_TEXT_EVERY = 50
MAX_CHANGED = 0.15  # share of the bins of a copy that may be others
CONFIG = NearDedupConfig()
NUM_TAGS = count_tags(CONFIG.num_bands, CONFIG.band_rows)
SKETCH_WORDS = CONFIG.sketch_bins // 32


@njit(cache=True)
def mixed(value):
    """A word that looks random (Steele, Lea and Flood: Fast splittable pseudorandom number generators, 2014)."""
    value = uint64(value) * uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> uint64(27))) * uint64(0x94D049BB133111EB)
    return value ^ (value >> uint64(31))


@njit(cache=True)
def original_of(number):
    """The document that one is a copy of; itself for most."""
    if number % COPY_EVERY != COPY_EVERY - 1:
        return number
    original = np.int64(mixed(uint64(number) ^ uint64(0xC0FFEE)) % uint64(number))
    return original - (original % COPY_EVERY == COPY_EVERY - 1)


@njit(cache=True)
def originals_of(numbers_B):
    """The same of many."""
    originals_B = np.empty_like(numbers_B)
    for row in range(len(numbers_B)):
        originals_B[row] = original_of(numbers_B[row])
    return originals_B


@njit(cache=True)
def make_signatures(first, sketches_BW, tags_BT, originals_B):
    """Sketches and tags of the documents from `first` on, and their originals."""
    for row in range(len(originals_B)):
        number = first + row
        original = original_of(number)
        originals_B[row] = original
        for word in range(sketches_BW.shape[1]):
            sketches_BW[row, word] = mixed(uint64(original) * uint64(128) + uint64(word))
        for tag in range(tags_BT.shape[1]):
            tags_BT[row, tag] = uint32(mixed(uint64(original) * uint64(128) + uint64(64 + tag)) >> uint64(32)) | uint32(
                1
            )
        if original == number:
            continue
        changed = MAX_CHANGED * (mixed(uint64(number) ^ uint64(0xBEEF)) >> uint64(11)) / 2.0**53
        draw = mixed(uint64(number) ^ uint64(0xFACADE))
        for symbol in range(32 * sketches_BW.shape[1]):
            draw = mixed(draw + uint64(symbol))
            if (draw >> uint64(11)) / 2.0**53 < changed:
                word, bit = symbol >> 5, uint64(2 * (symbol & 31))
                sketches_BW[row, word] &= ~(uint64(3) << bit)
                sketches_BW[row, word] |= (draw & uint64(3)) << bit
        for tag in range(tags_BT.shape[1]):
            draw = mixed(draw + uint64(tag))
            if (draw >> uint64(11)) / 2.0**53 > (1 - changed) ** 4:
                tags_BT[row, tag] = uint32(draw) | uint32(1)


@njit(cache=True)
def make_keys(first, kind, keys_B2):
    """Keys of the documents from `first` on; the second kind, of texts, has some of an earlier one."""
    for row in range(len(keys_B2)):
        number = first + row
        if kind == 2 and number % SAME_TEXT_EVERY == SAME_TEXT_EVERY - 2:
            number = np.int64(mixed(uint64(number) ^ uint64(0xDECADE)) % uint64(number))
        for half in range(2):
            keys_B2[row, half] = mixed(uint64(number) * uint64(8) + uint64(2 * kind + half))


@dataclass(slots=True)
class Documents:
    """The documents of a commit."""

    first: int
    count: int
    doc_nos_B: NDArray[np.int64] = field(init=False)
    signatures_BU: NDArray[np.uint8] = field(init=False)
    originals_B: NDArray[np.int64] = field(init=False)
    ids_B2: NDArray[np.uint64] = field(init=False)
    keys: Keys = field(init=False)

    def __post_init__(self) -> None:
        self.doc_nos_B = np.arange(self.first, self.first + self.count)
        sketches_BW = np.empty((self.count, SKETCH_WORDS), np.uint64)
        tags_BT = np.empty((self.count, NUM_TAGS), np.uint32)
        self.originals_B = np.empty(self.count, np.int64)
        make_signatures(self.first, sketches_BW, tags_BT, self.originals_B)
        symbols_B = np.zeros(self.count, np.uint32)
        self.signatures_BU = join_signatures(sketches_BW.view(np.uint8), tags_BT, symbols_B)
        keys = [np.empty((self.count, 2), np.uint64) for _ in range(3)]
        for kind, keys_B2 in enumerate(keys, 1):
            make_keys(self.first, kind, keys_B2)
        self.ids_B2, texts_B2, urls_B2 = keys
        self.keys = Keys(texts_B2=texts_B2, urls_B2=urls_B2)


@dataclass(slots=True)
class Slice:
    """CPU seconds by part, what was looked at, and errors."""

    keys: float = 0.0
    near: float = 0.0
    seal: float = 0.0
    merges: float = field(default_factory=lambda: time.thread_time() - time.process_time())
    looked_at: int = 0
    longest_seal: float = 0.0
    missed: int = 0
    wrong: int = 0
    decisions: xxhash.xxh3_64 = field(default_factory=xxhash.xxh3_64)


def make_indices(store: Store, memory: int) -> Indices:
    retracted = Retracted()
    return Indices(
        store, IdIndex(retracted), ExactDedup(ExactDedupConfig(), retracted), NearDedup(CONFIG), retracted, memory
    )


def take(indices: Indices, documents: Documents, found: Slice) -> NDArray[np.uint8]:
    """Decide about the documents of a commit; the facts of the survivors."""
    count, doc_nos_B = documents.count, documents.doc_nos_B
    began = time.thread_time()
    indices.ids.find(documents.ids_B2)
    duplicates = indices.exact.find_duplicates(doc_nos_B, documents.keys)
    indices.ids.note(documents.ids_B2, doc_nos_B, np.zeros(count, np.bool_))
    new_B = (duplicates.by_text_B < 0) & (duplicates.by_url_B < 0)
    at = time.thread_time()
    matches = indices.near.match(doc_nos_B, documents.signatures_BU, new_B)
    ended = time.thread_time()
    found.looked_at += int(matches.work_B.sum())
    found.keys += at - began
    found.near += ended - at
    # An original whose text had come before is no survivor.
    is_copy_B = (documents.originals_B != doc_nos_B) & (documents.originals_B % SAME_TEXT_EVERY != SAME_TEXT_EVERY - 2)
    found.missed += int((is_copy_B & new_B & (matches.doc_nos_B < 0)).sum())
    matched_B = matches.doc_nos_B[matches.doc_nos_B >= 0]
    found.wrong += int((originals_of(matched_B) != documents.originals_B[matches.doc_nos_B >= 0]).sum())
    tags_BP = matches.facts_BP[:, 8 * SKETCH_WORDS :]
    for values_B in (duplicates.by_text_B, matches.doc_nos_B, matches.similarities_B, tags_BP):
        found.decisions.update(np.ascontiguousarray(values_B).data)
    return matches.facts_BP[new_B & (matches.doc_nos_B < 0)]


def memory_of_process() -> dict[str, int]:
    """Megabytes that are of the process alone, and of files that are mapped."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) >> 10 for line in lines if line.startswith(("RssAnon", "RssFile"))}


def run(arguments: argparse.Namespace) -> None:
    store = Store(arguments.folder / "state")
    indices = make_indices(store, arguments.memory)
    indices.open(np.zeros(0, np.int64))
    begun = indices.sealed_documents
    print(
        "| documents | us a document | keys | near | seal | longest, s | merges | looked at | bytes a document | "
        "of it near | anonymous MB | disk | runs of tags | missed | wrong | decisions |"
    )
    print("|" + "---:|" * 16)
    found = Slice()
    for first in range(begun, arguments.documents, COMMIT):
        documents = Documents(first, COMMIT)
        take(indices, documents, found)
        end = first + COMMIT
        began = time.thread_time()
        if not arguments.in_memory and indices.is_due(end):
            indices.seal(end)
        elif indices.has_merged():
            indices.take_merged()
        spent = time.thread_time() - began
        found.seal += spent
        found.longest_seal = max(found.longest_seal, spent)
        if end % arguments.slice == 0:
            disk = sum(path.stat().st_size for path in (store.folder / "runs").glob("*"))
            near = indices.near.num_bytes() + indices.near.survivors.tier.held_bytes
            scale = 1e6 / arguments.slice
            found.merges += time.process_time() - time.thread_time()
            whole = (found.keys + found.near + found.seal) * scale
            print(
                f"| {end:,} | {whole:.2f} | {found.keys * scale:.2f} | {found.near * scale:.2f} | "
                f"{found.seal * scale:.2f} | {found.longest_seal:.2f} | {found.merges * scale:.2f} | "
                f"{found.looked_at / arguments.slice:.2f} | {indices.num_bytes() / end:.1f} | {near / end:.1f} | "
                f"{memory_of_process()['RssAnon']} | {disk / end:.0f} | "
                f"{[len(run) for run in indices.near.survivors.tier.runs]} | {found.missed} | {found.wrong} | "
                f"{found.decisions.hexdigest()} |",
                flush=True,
            )
            found = Slice()
    indices.near.survivors.tier.settle()
    store.close()


def reopen(arguments: argparse.Namespace) -> None:
    """A restart over what was sealed, and an id that is looked up."""
    store = Store(arguments.folder / "state")
    began = time.process_time()
    indices = make_indices(store, arguments.memory)
    documents = indices.open(np.zeros(0, np.int64))
    opened = time.process_time() - began
    print(f"restart over {documents:,} sealed documents: {opened:.2f} CPU-s; memory {indices.num_bytes() >> 20} MB")
    numbers = np.random.default_rng(0).integers(0, documents, 200)
    began = time.process_time()
    for number in numbers.tolist():
        keys_B2 = np.empty((1, 2), np.uint64)
        make_keys(number, 1, keys_B2)
        runs = map(RunFile, manifest_of(store).files(store.folder / FOLDER, IDS))
        rows = np.concatenate([run.find(int(keys_B2[0, 0])) for run in runs])
        assert rows[:, 2].tolist() == [number]
    print(f"an id, from the files: {(time.process_time() - began) / len(numbers) * 1e6:.0f} us")
    store.close()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=30_000_000)
    parser.add_argument("--slice", type=int, default=1_000_000)
    parser.add_argument("--memory", type=int, default=2 << 30)
    parser.add_argument("--in-memory", action="store_true", help="nothing is sealed")
    arguments = parser.parse_args()
    run(arguments)
    if not arguments.in_memory:
        reopen(arguments)


if __name__ == "__main__":
    main()
