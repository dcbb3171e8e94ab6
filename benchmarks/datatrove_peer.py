"""datatrove's filters in a process of their own: `peer_verdicts(texts, splitters)`.

datatrove with spaCy wants versions of its own, so where this interpreter lacks them an environment is made, once, in
`.cache/datatrove`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".cache" / "datatrove"
REQUIREMENTS = ("datatrove==0.10.0", "spacy>=3.8", "regex", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerVerdicts:
    """Verdicts of datatrove on the texts: kept, by filter; None where it divides by zero."""

    kept: dict[str, list[bool | None]]
    cpu_us: dict[str, float]  # a document and filter


def peer_python() -> Path:
    """An interpreter that has datatrove and spaCy."""
    if all(importlib.util.find_spec(name) for name in ("datatrove", "spacy")):
        return Path(sys.executable)
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        print(f"making an environment with datatrove in {ENVIRONMENT.relative_to(ROOT)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
    return python


def peer_verdicts(texts: list[str], sentence_end: re.Pattern[str] | None) -> PeerVerdicts:
    """Run the filters over the texts, with our splitters or, for None, their own."""
    command = [peer_python(), "-m", "benchmarks.datatrove_peer", *([sentence_end.pattern] if sentence_end else [])]
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        command, input=lines, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment, check=True
    )
    answer = json.loads(process.stdout)
    return PeerVerdicts(kept=answer["kept"], cpu_us=answer["cpu_us"])


def main() -> None:
    """Texts as JSON strings on stdin, verdicts as one JSON object on stdout."""
    from tests.curation.quality.datatrove_filters import build_filters, keeps

    filters = build_filters(re.compile(sys.argv[1]) if len(sys.argv) > 1 else None)
    for name in filters:
        keeps(filters, name, "A first text loads what is loaded at first use. It is not counted.")
    kept: dict[str, list[bool | None]] = {name: [] for name in filters}
    seconds = dict.fromkeys(filters, 0.0)
    num_texts = 0
    for line in sys.stdin:
        text = json.loads(line)
        num_texts += 1
        for name in filters:
            began = time.process_time()
            kept[name].append(keeps(filters, name, text))
            seconds[name] += time.process_time() - began
    cpu_us = {name: 1e6 * spent / max(1, num_texts) for name, spent in seconds.items()}
    json.dump({"kept": kept, "cpu_us": cpu_us}, sys.stdout)


if __name__ == "__main__":
    main()
