"""The manifest of the indices' files, and the documents of an id from these files alone, for commands.

It imports no kernel. The manifest is in the store of one process alone, as its files are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import xxhash

from curation.dedup.run_file import RunFile
from state.facts import packed, single
from state.store import Store

FOLDER: Final = "runs"  # in the folder of the state
IDS: Final = "ids"
_DOC_NO = (1 << 32) - 1  # the bits of a row's last word that are the number of a document


class Manifest(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Fact: the files of the indices, and what they tell of."""

    documents: int  # all with a lower number
    survivors: int
    runs: dict[str, list[str]]  # kind -> files, oldest first

    def files(self, folder: Path, kind: str) -> list[Path]:
        """The files of a kind."""
        return [folder / name for name in self.runs.get(kind, [])]

    def names(self) -> frozenset[str]:
        """The names of all runs."""
        return frozenset(name for names in self.runs.values() for name in names)


MANIFEST = single("runs", packed(Manifest))
NOTHING_SEALED = Manifest(documents=0, survivors=0, runs={})


def manifest_of(store: Store) -> Manifest:
    """The manifest; of nothing, if there is none."""
    return MANIFEST.get(store, None) or NOTHING_SEALED


def sealed_under(store: Store, doc_id: str) -> list[int]:
    """The documents in sealed files that came under an id, oldest first. Raises `StateError` if a file is not there."""
    digest = xxhash.xxh3_128_digest(doc_id.encode("utf-8", "surrogatepass"))
    first, second = (int.from_bytes(half, "little") for half in (digest[:8], digest[8:]))
    rows = [
        row
        for path in manifest_of(store).files(store.folder / FOLDER, IDS)
        for row in RunFile(path).find(first).tolist()
    ]
    return sorted(row[2] & _DOC_NO for row in rows if row[1] == second)
