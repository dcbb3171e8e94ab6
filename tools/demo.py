"""The demonstration: gather real documents from this machine, curate them, show what came of it.

    make demo

Most documents first, then the rest as a second increment, which costs seconds. A run after that reads nothing, because
nothing changed: delete `demo/` to see it all again.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tools.demo_texts import show_texts

FOLDER = Path("demo")
GATHERED = FOLDER / "gathered.jsonl"
FIRST, MORE = FOLDER / "documents.jsonl", FOLDER / "more.jsonl"
OUTPUT, VERDICTS = FOLDER / "curated", FOLDER / "verdicts"
CONFIG = FOLDER / "curatord.toml"
SHARE_FIRST = 0.95

# A tenth of the documents' usual number warms the embedding up, so that the demonstration takes a minute less.
SETTINGS = """\
# Every option has a default; `curatord config new` prints them all.
[embedding]
warmup_documents = 2048
"""


def main() -> int:
    """Run all steps; the exit code of the first that failed."""
    began = time.monotonic()
    FOLDER.mkdir(exist_ok=True)
    CONFIG.write_text(SETTINGS)
    if not MORE.exists():
        subprocess.run([sys.executable, "-m", "tools.gather_documents", str(GATHERED)], check=True)
        _divide()
    code = _curate(FIRST)
    if code:
        return code
    print("\nA second increment: what is new is read, what is known is recognised, and the student knows them already.")
    increment = time.monotonic()
    code = _curate(FIRST, MORE, quiet=True)
    if code:
        return code
    print(f"It took {time.monotonic() - increment:.0f} s, of which the start of the program is most.")
    show_texts(OUTPUT, VERDICTS, (FIRST, MORE))
    print(f"\nThe demonstration took {time.monotonic() - began:.0f} s. Run it again: nothing is read twice.")
    return 0


def _divide() -> None:
    """Most documents are there at first, the rest come later."""
    lines = GATHERED.read_bytes().splitlines(keepends=True)
    first = int(SHARE_FIRST * len(lines))
    FIRST.write_bytes(b"".join(lines[:first]))
    MORE.write_bytes(b"".join(lines[first:]))
    GATHERED.unlink()


def _curate(*inputs: Path, quiet: bool = False) -> int:
    """Run the command as a user would; `quiet` keeps the screen of totals back."""
    command = ["curatord", "curate", *map(str, inputs), "--output", str(OUTPUT), "--config", str(CONFIG)]
    command += ["--verdicts", str(VERDICTS)]
    print("$ " + " ".join(command), flush=True)
    program = str(Path(sys.executable).with_name("curatord"))
    return subprocess.run([program, *command[1:]], stdout=subprocess.DEVNULL if quiet else None).returncode


if __name__ == "__main__":
    sys.exit(main())
