"""Run scenarios one after another, each in a process of its own, and keep what they print.

    python -m benchmarks [SCENARIO ...] [--list]

A result file carries date, machine, versions and command, so that every number can be interpreted later.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results"

# Permanent: a scenario may be retired, never renamed or changed in meaning.
SCENARIOS = {
    "near-dedup": "benchmarks.near_dedup",
    "near-dedup-truth": "benchmarks.near_dedup_truth",
    "templated-families": "benchmarks.templated_families",
    "passages": "benchmarks.passages",
    "mask": "benchmarks.mask",
    "decontamination": "benchmarks.decontamination",
    "quality": "benchmarks.quality",
    "quality-agreement": "benchmarks.quality_agreement",
    "tokenizer": "benchmarks.tokenizer",
    "embedding-clusters": "benchmarks.embedding_clusters",
    "drift": "benchmarks.drift",
    "bandit-mixture": "benchmarks.bandit_mixture",
    "influence": "benchmarks.influence",
    "loss-shares": "benchmarks.loss_shares",
    "packing": "benchmarks.packing",
    "sequence-codec": "benchmarks.sequence_codec",
    "stream-client": "benchmarks.stream_client",
    "pipeline": "benchmarks.pipeline",
    "linear-time": "benchmarks.linear_time",
    "web": "benchmarks.web",
    "main-text": "benchmarks.main_text",
    "value": "benchmarks.value",
    "service": "benchmarks.service",
    "take-over": "benchmarks.take_over",
    "processors": "benchmarks.processors",
}
VERSIONS_OF = (
    "numpy", "numba", "faiss-cpu", "torch", "tiktoken", "tokenizers", "fastokens", "mistral-common", "datasketch",
    "rensa", "rocksdict", "pyarrow", "trl", "datatrove", "scikit-learn", "kafka-python", "msgspec", "crc32c",
    "resiliparse", "trafilatura", "readability-lxml",
)  # fmt: skip


def versions() -> str:
    """Machine and versions, which the numbers depend on."""
    found = [f"Python {platform.python_version()}"]
    for name in VERSIONS_OF:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def processor() -> str:
    """The machine's processor, as far as it tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


def run(scenario: str) -> int:
    """Run one scenario, show its output and keep it; the exit code."""
    module = SCENARIOS[scenario]
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    process = subprocess.Popen([sys.executable, "-m", module], stdout=subprocess.PIPE, text=True)
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line.rstrip())
    code = process.wait()
    if code == 0:
        path = RESULTS / f"{today}-{scenario}.md"
        head = [f"# {scenario}", "", f"- {today}, {processor()}", f"- {versions()}", f"- `python -m {module}`", ""]
        path.write_text("\n".join([*head, *lines]).rstrip() + "\n", encoding="utf-8")
        print(f"-> {path.relative_to(RESULTS.parents[1])}")
    return code


def main() -> int:
    """Run the scenarios that were named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO")
    parser.add_argument("--list", action="store_true", help="name the scenarios and stop")
    options = parser.parse_args()
    if options.list:
        print("\n".join(SCENARIOS))
        return 0
    unknown = [name for name in options.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"no scenario is called {', '.join(unknown)}; there are: {', '.join(SCENARIOS)}")
    failed = [name for name in options.scenarios or SCENARIOS if run(name)]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
