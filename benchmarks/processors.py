"""A state that is carried on gives the same bytes on every kind of processor: sequences, clusters and arms.

    python -m benchmarks.processors [--documents 3000]

A first run makes the state, student included. Copies of it go on with as many other documents, each in a process that
is told to take the kernels of another processor: OPENBLAS_CORETYPE for the BLAS of numpy and FAISS, FAISS_SIMD_LEVEL
for what FAISS has beside it, NUMBA_CPU_NAME for ours. The hashes of all that comes out are compared. The teacher is
asked in the first run only: its numbers may differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.texts import log_normal_texts
from state.store import Store, state_folder
from tests.corpus import CORPORA

CONFIG = """
[embedding]
warmup_documents = 256
retrain_drop = 1.0
[clusters]
initial_clusters = 24
[bandit]
enabled = true
reward = ["rules"]
[packing]
context_length = 2048
"""
PROCESSORS: tuple[dict[str, str], ...] = (
    {},
    {"OPENBLAS_CORETYPE": "Haswell"},
    {"OPENBLAS_CORETYPE": "Prescott"},
    {"FAISS_SIMD_LEVEL": "NONE"},
    {"NUMBA_CPU_NAME": "nehalem"},
)


def curate(folder: Path, name: str, output: Path, settings: dict[str, str]) -> None:
    """One run in a process of its own."""
    cache = {"NUMBA_CACHE_DIR": str(folder / settings["NUMBA_CPU_NAME"])} if "NUMBA_CPU_NAME" in settings else {}
    command = [sys.executable, "-m", "daemon", "curate", str(folder / name), "-o", str(output)]
    subprocess.run(
        [*command, "-c", str(folder / "curatord.toml")],
        check=True,
        capture_output=True,
        env={**os.environ, **settings, **cache},
    )


def hashes(output: Path) -> dict[str, str]:
    """Of what a folder holds: the sequences' files, and the facts of clusters and arms."""
    files = hashlib.sha256()
    for path in sorted(output.glob("train-*.parquet")):
        files.update(path.read_bytes())
    found = {"sequences": files.hexdigest()[:16]}
    store = Store(state_folder(output), read_only=True)
    for family in ("clusters", "bandit", "mixture", "packing"):
        facts = hashlib.sha256()
        for key, value in store.items(family):
            facts.update(key + value)
        found[family] = facts.hexdigest()[:16]
    store.close()
    return found


def main() -> int:
    """Print a line for each processor; 1 if they differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=3000)
    documents = parser.parse_args().documents
    with tempfile.TemporaryDirectory(prefix="processors-") as temporary:
        folder = Path(temporary)
        (folder / "curatord.toml").write_text(CONFIG)
        texts = log_normal_texts(CORPORA, 2 * documents)
        for name, part in (("first.jsonl", texts[:documents]), ("second.jsonl", texts[documents:])):
            rows = (json.dumps({"id": f"{name}:{number}", "text": text}) for number, text in enumerate(part))
            (folder / name).write_text("\n".join(rows) + "\n")
        curate(folder, "first.jsonl", folder / "state", {})
        results = []
        print(f"{documents:,} documents, then {documents:,} more on a copy of the state\n")
        for number, settings in enumerate(PROCESSORS):
            output = folder / f"copy-{number}"
            shutil.copytree(folder / "state", output)
            curate(folder, "second.jsonl", output, settings)
            results.append(hashes(output))
            told = ", ".join(f"{name} {value}" for name, value in results[-1].items())
            print(
                f"{' '.join(f'{name}={value}' for name, value in settings.items()) or 'as it is':<55}{told}", flush=True
            )
            shutil.rmtree(output)
    is_same = all(result == results[0] for result in results)
    print("\nall the same" if is_same else "\nTHEY DIFFER")
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())
