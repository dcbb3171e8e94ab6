"""BLAS on one thread: in our processes, and in no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TWO_THREADS = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
# Libraries that come later count as well: faiss brings a BLAS of its own.
TELL = (
    "import atexit, json, sys\n"
    "def tell():\n"
    "    import faiss, numpy, threadpoolctl\n"
    "    print(json.dumps([pool['num_threads'] for pool in threadpoolctl.threadpool_info()]), file=sys.stderr)\n"
    "atexit.register(tell)\n"
)


def threads_of(code: str, *arguments: str) -> list[int]:
    result = subprocess.run(
        [sys.executable, "-c", TELL + code, *arguments], cwd=ROOT, env=TWO_THREADS, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    numbers: list[int] = json.loads(result.stderr.splitlines()[-1])
    return numbers


def test_a_command_has_one_thread_in_every_library_against_its_environment(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text('{"text": "one document"}\n')
    config = tmp_path / "best_fit.toml"
    config.write_text('[packing]\nmode = "best_fit"\n')
    arguments = ["curate", str(tmp_path / "one.jsonl"), "-o", str(tmp_path / "out"), "-c", str(config)]

    threads = threads_of("from daemon.cli import main\nmain()", *arguments)

    assert len(threads) >= 3  # the BLAS of numpy, that of faiss, OpenMP
    assert set(threads) == {1}


def test_a_pipeline_that_another_program_builds_has_one_thread_where_numpy_was_loaded_before() -> None:
    threads = threads_of("import numpy\nfrom ops.blas import use_one_thread\nuse_one_thread()")

    assert set(threads) == {1}


def test_a_trainer_keeps_its_threads() -> None:
    threads = threads_of("import curatord\nfrom curatord import PackedSequence, PackedStream")

    assert set(threads) == {2}
