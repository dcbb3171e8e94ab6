"""No vectors are made where nothing reads them, and a state goes on when an option needs them later."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
from click.testing import CliRunner

from daemon.cli import cli
from tests.daemon.conftest import CONFIG, write_documents

ROOT = Path(__file__).parents[2]
BEST_FIT = CONFIG.replace("[packing]", '[packing]\nmode = "best_fit"')
HEAVY = ("torch", "transformers", "sentence_transformers", "faiss", "pandas", "datasketch", "scipy.linalg", "iso639")


def curate(folder: Path, output: str, config: str, *numbers: range, keep_open: bool = True) -> str:
    """Run the command over documents; the screen."""
    settings = folder / "curatord.toml"
    settings.write_text(config)
    inputs = [str(write_documents(folder / f"{part.start}-{part.stop}.jsonl", part)) for part in numbers]
    arguments = ["curate", *inputs, "-o", str(folder / output), "-c", str(settings)]
    result = CliRunner().invoke(cli, arguments + ["--keep-open"] * keep_open, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def rows(folder: Path) -> list[tuple[list[str], list[int]]]:
    return [
        (row["doc_ids"], row["clusters"])
        for shard in sorted(folder.glob("train-*.parquet"))
        for row in pq.read_table(shard).to_pylist()
    ]


def test_a_run_that_reads_no_vectors_loads_nothing_that_makes_them(tmp_path: Path) -> None:
    inputs = write_documents(tmp_path / "documents.jsonl", range(20))
    (tmp_path / "curatord.toml").write_text(BEST_FIT)
    code = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('loaded:', *[name for name in {HEAVY} if name in sys.modules]))\n"
        "from daemon.cli import main\n"
        "main()"
    )
    command = ["curate", str(inputs), "-o", str(tmp_path / "out"), "-c", str(tmp_path / "curatord.toml")]

    for _ in range(2):  # once to keep the tables
        result = subprocess.run(
            [sys.executable, "-c", code, *command], cwd=ROOT, capture_output=True, text=True, check=True
        )

    assert "no vectors and no clusters" in result.stdout
    assert "coherence" not in result.stdout
    assert result.stdout.splitlines()[-1].strip() == "loaded:"
    assert {cluster for _, clusters in rows(tmp_path / "out") for cluster in clusters} == {0}


def test_vectors_begin_when_an_option_needs_them_and_an_interruption_then_changes_nothing(tmp_path: Path) -> None:
    curate(tmp_path, "straight", BEST_FIT, range(40))
    shutil.copytree(tmp_path / "straight", tmp_path / "stopped")

    # Inputs are told apart by their names, so both have the same. A tick ends in the second.
    parts = range(40, 55), range(55, 530), range(530, 560)
    curate(tmp_path, "straight", CONFIG, *parts, keep_open=False)
    for part in parts[:2]:
        curate(tmp_path, "stopped", CONFIG, part)
    curate(tmp_path, "stopped", CONFIG, parts[2], keep_open=False)

    assert rows(tmp_path / "straight") == rows(tmp_path / "stopped")
    ids = [doc_id for doc_ids, _ in rows(tmp_path / "straight") for doc_id in doc_ids]
    assert {f"doc-{n}" for n in range(40)} <= set(ids)
    assert len({cluster for _, clusters in rows(tmp_path / "straight") for cluster in clusters}) > 1


def test_documents_from_before_have_no_direction_for_a_teacher_that_embeds_all(tmp_path: Path) -> None:
    taught = BEST_FIT.replace("[embedding]", '[embedding]\nmode = "teacher"')
    curate(tmp_path, "out", taught, range(20))

    curate(tmp_path, "out", taught.replace("best_fit", "sculpt"), range(20, 40), keep_open=False)

    assert {doc_id for doc_ids, _ in rows(tmp_path / "out") for doc_id in doc_ids} == {f"doc-{n}" for n in range(40)}


def test_vectors_end_when_nothing_reads_them_any_more(tmp_path: Path) -> None:
    curate(tmp_path, "out", CONFIG, range(40), keep_open=False)

    screen = curate(tmp_path, "out", BEST_FIT, range(40, 60))
    assert "no vectors and no clusters" in screen

    curate(tmp_path, "out", CONFIG, range(60, 80), keep_open=False)
    assert {doc_id for doc_ids, _ in rows(tmp_path / "out") for doc_id in doc_ids} == {f"doc-{n}" for n in range(80)}
