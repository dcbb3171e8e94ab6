"""One curated folder that the tests of the commands share, because warming up takes seconds."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from curatord.errors import CuratordError
from daemon.cli import cli

CONFIG = """
[embedding]
warmup_documents = 64
[clusters]
min_clusters = 2
initial_clusters = 4
[packing]
context_length = 512
pool_documents = 40
shuffle_block_rows = 16
"""

WORDS = (Path(__file__).read_text() + Path(json.__file__).read_text()).split()


def text_of(number: int) -> str:
    """A text of its own for each number, a hundred words of one of four topics."""
    rng = random.Random(number)
    topic = WORDS[(number % 4) * 60 : (number % 4) * 60 + 60]
    return " ".join(f"{rng.choice(topic)}{rng.randrange(9)}" for _ in range(rng.randrange(40, 130)))


def write_documents(path: Path, numbers: range) -> Path:
    """JSON lines with these documents."""
    lines = [json.dumps({"id": f"doc-{n}", "text": text_of(n), "source": f"source-{n % 3}"}) for n in numbers]
    path.write_text("\n".join(lines) + "\n")
    return path


@dataclass(frozen=True)
class Curated:
    """A folder with inputs, a configuration and an output."""

    folder: Path
    config: Path
    output: Path


@pytest.fixture(scope="session")
def _original(tmp_path_factory: pytest.TempPathFactory) -> Curated:
    folder = tmp_path_factory.mktemp("curated")
    config = folder / "curatord.toml"
    config.write_text(CONFIG)
    documents = write_documents(folder / "documents.jsonl", range(300))
    with documents.open("a") as file:
        file.write(json.dumps({"id": "copy", "text": text_of(5)}) + "\n")
        file.write(json.dumps({"id": "near-copy", "text": text_of(88) + " more"}) + "\n")
        file.write(json.dumps({"id": "long", "text": " ".join(WORDS[:900])}) + "\n")
        file.write('{"id": "broken"\n')
    output = folder / "output"
    result = CliRunner().invoke(cli, ["curate", str(documents), "-o", str(output), "-c", str(config)])
    assert result.exit_code == 0, result.output
    return Curated(folder, config, output)


@pytest.fixture
def curated(_original: Curated, tmp_path: Path) -> Curated:
    """A copy that the test may change. The input keeps its place, which the state knows it by."""
    shutil.copytree(_original.output, tmp_path / "output")
    return Curated(_original.folder, _original.config, tmp_path / "output")


Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Run a command; one of our errors becomes its exit code and its message, as in `main`."""

    def invoke(*arguments: object) -> Result:
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
        error = result.exception
        if isinstance(error, CuratordError):
            result.exit_code = error.exit_code
            result.output_bytes += str(error).encode()
        elif error is not None and not isinstance(error, SystemExit):
            raise error
        return result

    return invoke
