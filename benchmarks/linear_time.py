"""Time of every stage on texts that break programs which look back: `python -m benchmarks.linear_time [KB] [STAGE ..]`.

Every shape of `tests/shapes.py`, and eight times as much of it, through every stage that reads text; CPU time of the
thread. A stage is linear if the time grows as the bytes do: with a power of 1. The last column names shapes with a
power of 1.32 (a ratio of 2.5 for twice the bytes) or more. tests/test_linear_time.py holds the same of counted work.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.shapes import SHAPES
from tests.stages import Stage, kernel_stages, library_stages

NUM_KB = 16
GROWTH = 8
MAX_POWER = math.log2(2.5)
NOISE_S = 0.02  # what is faster than this says nothing about growth


def cpu_s(stage: Stage, text: str, repeats: int) -> float:
    """Least CPU time of several runs."""
    spent = []
    for _ in range(repeats):
        began = time.thread_time()
        stage(text)
        spent.append(time.thread_time() - began)
    return min(spent)


def main() -> None:
    """Print the table."""
    num_bytes = 1024 * (int(sys.argv[1]) if len(sys.argv) > 1 else NUM_KB)
    wanted = sys.argv[2:]
    print(f"{len(SHAPES)} shapes of {num_bytes >> 10} KB and of {GROWTH * num_bytes >> 10} KB\n")
    print("| stage | slowest shape | MB/s there | median MB/s | largest power | bent |")
    print("|---|---|---:|---:|---:|---|")
    with TemporaryDirectory() as folder:
        for name, stage in {**kernel_stages(), **library_stages(Path(folder))}.items():
            if wanted and not any(part in name for part in wanted):
                continue
            stage(SHAPES["a sentence"](1000))
            speeds, powers = [], {"": 0.0}
            for shape, text_of in SHAPES.items():
                once_s = cpu_s(stage, text_of(num_bytes), 4)
                more_s = cpu_s(stage, text_of(GROWTH * num_bytes), 2)
                speeds.append((1e-6 * GROWTH * num_bytes / more_s, shape))
                if more_s > NOISE_S:
                    powers[shape] = math.log(more_s / once_s) / math.log(GROWTH)
            speeds.sort()
            bent = ", ".join(shape for shape, power in powers.items() if power > MAX_POWER)
            print(
                f"| {name} | {speeds[0][1]} | {speeds[0][0]:.2f} | {speeds[len(speeds) // 2][0]:.1f} "
                f"| {max(powers.values()):.2f} | {bent} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
