"""The demonstration: gather real documents from this machine, curate them, show what came of it.

    make demo

A second run gathers nothing and reads nothing, because nothing changed: delete `demo/` to see it all again.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path("demo")
DOCUMENTS = FOLDER / "documents.jsonl"
OUTPUT = FOLDER / "curated"
CONFIG = FOLDER / "curatord.toml"

# A tenth of the documents' usual number warms the embedding up, so that the demonstration takes a minute less.
SETTINGS = """\
# Every option has a default; `curatord config new` prints them all.
[embedding]
warmup_documents = 2048
"""


def main() -> int:
    """Run both steps; the exit code of the second."""
    began = time.monotonic()
    FOLDER.mkdir(exist_ok=True)
    CONFIG.write_text(SETTINGS)
    if not DOCUMENTS.exists():
        subprocess.run([sys.executable, "-m", "tools.gather_documents", str(DOCUMENTS)], check=True)
    command = ["curatord", "curate", str(DOCUMENTS), "--output", str(OUTPUT), "--config", str(CONFIG)]
    print("$ " + " ".join(command), flush=True)
    code = subprocess.run([str(Path(sys.executable).with_name("curatord")), *command[1:]]).returncode
    print(f"\nThe demonstration took {time.monotonic() - began:.0f} s. Run it again: nothing is read twice.")
    return code


if __name__ == "__main__":
    sys.exit(main())
