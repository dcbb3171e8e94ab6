"""The arguments of workers' commands: which go together."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from daemon.cli import cli


@pytest.mark.parametrize("arguments", [["documents.jsonl"], ["-o", "prepared"], ["a.jsonl", "-o", "b", "--again"]])
def test_prepare_takes_files_with_an_output_or_a_topic_with_neither(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, ["prepare", *arguments])

    assert result.exit_code == 2
    assert "files are prepared with INPUT and --output, documents of a topic with neither" in result.output


def test_a_damping_of_nothing_is_refused() -> None:
    result = CliRunner().invoke(cli, ["score", "--damping", "0"])

    assert result.exit_code == 2
    assert "--damping" in result.output
