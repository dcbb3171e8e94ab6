"""The same bytes before and after a change: two checkouts curate the same documents, and every file is compared.

    python -m benchmarks.golden BEFORE AFTER [--documents 4096]

Each is a checkout with its own `.venv`. Documents of the development corpora in an order that mixes their sources,
twice through `curate --verdicts`: bandit and mixture off, then on. Compared are the shards, the manifest, the verdicts,
and the ledger that the summary prints.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.web import shuffled_copy
from tests.corpus import CORPORA

CONFIGS = {
    "bandit and mixture off": "",
    "bandit and mixture on": '[bandit]\nenabled = true\nreward = ["rules"]\n[mixture]\nrho = 0.5\nmax_uses = 2\n',
}
WARM_UP = "[embedding]\nwarmup_documents = 1024\n"
# Of the summary: how long a run took, and what of the machine.
NOT_COMPARED = ("seconds", "elapsed", "rate", "memory", "output", "folder", "time", "slow_because", "makes_vectors")


def documents(folder: Path, limit: int) -> Path:
    """So many documents, one file."""
    whole = shuffled_copy(sorted((CORPORA / "web").glob("*.jsonl.zst")), folder)
    path = folder / "documents.jsonl"
    with whole.open() as lines:
        path.write_text("".join(islice(lines, limit)))
    return path


def outcome(checkout: Path, inputs: Path, config: str, folder: Path) -> dict[str, str]:
    """Digests by name of the output of a checkout."""
    folder.mkdir()
    (folder / "curatord.toml").write_text(WARM_UP + config)
    command = [str(checkout / ".venv/bin/python"), "-m", "curatord", "curate", str(inputs), "--json"]
    command += ["-o", "output", "-c", "curatord.toml", "--verdicts", "verdicts"]
    result = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, check=True, env={**os.environ, "PYTHONPATH": str(checkout)}
    )
    digests = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and "state" not in path.relative_to(folder).parts
        and path.suffix != ".toml"
        and path.name[0] != "."
    }
    for name, value in flattened(json.loads(result.stdout)):
        if not any(word in name for word in NOT_COMPARED):
            digests[f"summary {name}"] = str(value)
    return digests


def flattened(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Every number and string of a document, by its path."""
    if isinstance(value, dict):
        return [pair for key, part in value.items() for pair in flattened(part, f"{name}.{key}")]
    if isinstance(value, list):
        return [pair for number, part in enumerate(value) for pair in flattened(part, f"{name}.{number}")]
    return [(name, value)]


def main() -> None:
    """Print what differs; exit code 1 if anything does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--documents", type=int, default=4096)
    options = parser.parse_args()
    differing = 0
    with tempfile.TemporaryDirectory() as scratch:
        inputs = documents(Path(scratch), options.documents)
        for number, (title, config) in enumerate(CONFIGS.items()):
            before, after = (
                outcome(checkout.resolve(), inputs, config, Path(scratch) / f"{number}-{which}")
                for which, checkout in (("before", options.before), ("after", options.after))
            )
            names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
            print(f"{title}: {len(before)} files and numbers, {len(names)} differ", flush=True)
            for name in names:
                print(f"  {name}: {before.get(name)} before, {after.get(name)} after")
            differing += len(names)
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
