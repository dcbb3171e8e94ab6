"""The snippets in the documentation: each imports what it uses, and those that need no server run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
import torch

from curatord import PackedStream
from daemon.cli import cli
from tests.curatord.streams import add_shard
from tools.write_docs import REASONS_PAGE, reasons_page

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What a page says is the reader's own.
GIVEN = ("rank", "world", "model", "args", "checkpoint", "losses", "trainer_config", "dp_rank", "dp_world", "cp_size")
# What a snippet that runs has in it, of which one on the same page does.
RUNNING = {
    "README.md": ["load_dataset"],
    "first-corpus.md": ["PackedStream"],
    "trainers.md": ["sequence.tokens_T", "model(**batch"],
    "verdicts.md": ["pyarrow.dataset"],
}

SNIPPETS = [(page, number, code) for page in PAGES for number, code in enumerate(BLOCK.findall(page.read_text()))]


def test_the_page_of_reasons_is_the_one_that_the_code_makes() -> None:
    assert REASONS_PAGE.read_text(encoding="utf-8") == reasons_page(), "run `make docs`"


def commands(group: click.Group, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        yield from commands(command, f"{path} {name}") if isinstance(command, click.Group) else [f"{path} {name}"]


def test_the_page_of_commands_names_every_command() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    for command in commands(cli, "curatord"):
        *group, name = command.split()
        row = re.compile(rf"^\| `{' '.join(group)} ([^|]*`)?{name}\b", re.MULTILINE)
        assert row.search(page), command


def test_every_page_that_is_to_run_has_its_snippets() -> None:
    for name, marks in RUNNING.items():
        codes = [code for page, _, code in SNIPPETS if page.name == name]
        assert all(any(mark in code for code in codes) for mark in marks), name


@pytest.mark.parametrize(("page", "number", "code"), [pytest.param(*s, id=f"{s[0].name}-{s[1]}") for s in SNIPPETS])
def test_a_snippet_imports_what_it_uses(page: Path, number: int, code: str) -> None:
    builtins = "builtins = [" + ", ".join(f'"{name}"' for name in GIVEN) + "]"
    result = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E9,F821,F823", "--config", builtins, "-"],
        input=code,
        text=True,
        capture_output=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


class Model(torch.nn.Module):
    """Stands where a reader's model does."""

    def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor, labels: torch.Tensor, **_: Any) -> Any:
        assert input_ids.shape == position_ids.shape == labels.shape
        return SimpleNamespace(loss=input_ids.sum())


@pytest.fixture
def curated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an output of that name, and verdicts beside it."""
    import pyarrow.parquet as pq

    from consumers.formats.verdicts import FILE_SCHEMA

    add_shard(tmp_path / "curated", 0, 32)
    (tmp_path / "verdicts").mkdir()
    pq.write_table(FILE_SCHEMA.empty_table(), tmp_path / "verdicts" / "verdicts-0000000000-0000000000.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", os.fspath(tmp_path / "hub"))
    return tmp_path


@pytest.mark.parametrize(
    ("page", "code"),
    [
        pytest.param(page, code, id=f"{page.name}-{number}")
        for page, number, code in SNIPPETS
        if any(mark in code for mark in RUNNING.get(page.name, ()))
        and "kafka://" not in code
        and "Trainer" not in code
        and "micro_batches" not in code
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_snippet_that_needs_no_server_runs(curated: Path, page: Path, code: str) -> None:
    assert len(list(PackedStream(curated / "curated"))) == 32
    given = {"rank": 0, "world": 1, "model": Model(), "__name__": "__main__"}
    exec(compile(code.replace("num_workers=2", "num_workers=0"), f"{page.name}", "exec"), given)


def test_every_link_within_the_documentation_leads_somewhere() -> None:
    others = [ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs" / "decisions").glob("*.md")]
    for page in [*PAGES, *others, *ROOT.glob("[a-z]*/README.md"), *ROOT.glob("[a-z]*/*/README.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), (page.name, target)
        for target, anchor in re.findall(r"\]\(([^)#\s]*\.md)?#([\w-]+)\)", page.read_text()):
            text = (page.parent / target).read_text() if target else page.read_text()
            headings = [
                re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-")
                for h in re.findall(r"^#+ (.*)$", text, re.M)
            ]
            assert f'id="{anchor}"' in text or anchor in headings, (page.name, target, anchor)
