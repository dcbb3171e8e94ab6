"""`explain` and `inspect`: the facts, and what is wrong with them."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.daemon.conftest import Curated, Run


def test_explain_tells_every_stage_of_a_document_that_went_out(curated: Curated, run: Run) -> None:
    story = run("explain", "doc-12", "-o", curated.output).output

    for part in ("read        row 12", "quality     passed", "near_dedup  passed", "tokens", "emitted     sequence"):
        assert part in story


def test_explain_names_the_document_that_a_duplicate_resembles(curated: Curated, run: Run) -> None:
    assert "REJECTED, same_text: doc-5" in run("explain", "copy", "-o", curated.output).output
    near = run("explain", "near-copy", "-o", curated.output).output
    assert "near_dedup  REJECTED, similarity" in near
    assert "doc-88" in near


def test_explain_lists_every_sequence_of_a_long_document(curated: Curated, run: Run) -> None:
    (story,) = json.loads(run("explain", "long", "-o", curated.output, "--json").output)

    pieces = sorted((piece["start"], piece["length"]) for piece in story["placements"])
    assert len(pieces) > 1
    assert sum(length for _, length in pieces) == story["verdict"]["num_tokens"]


def test_explain_of_an_unknown_id_offers_similar_ones(curated: Curated, run: Run) -> None:
    result = run("explain", "oc-12", "-o", curated.output)

    assert result.exit_code == 2
    assert "doc-12" in result.output


def test_inspect_state_adds_up(curated: Curated, run: Run) -> None:
    report = json.loads(run("inspect", "state", "-o", curated.output, "--json").output)

    ledger = report["ledger"]
    assert ledger["rows_read"] == sum(ledger["rows"].values()) == 304
    assert ledger["rows"]["dead"] == 1
    assert report["families"]["documents"]["facts"] > 0
    assert not report["problems"]


def test_inspect_state_reads_what_a_damaged_state_still_has(curated: Curated, run: Run) -> None:
    state = curated.output / ".curatord" / "state"
    largest = max(state.glob("*.sst"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    for place in range(0, len(content) // 2, 97):
        content[place] ^= 0xFF
    largest.write_bytes(content)

    result = run("inspect", "state", "-o", curated.output)

    assert "DAMAGED" in result.output or result.exit_code == 65
    assert "Traceback" not in result.output


def test_help_and_explain_import_nothing_heavy(curated: Curated) -> None:
    code = (
        "import sys; sys.argv = ['curatord', *{arguments!r}]\n"
        "from daemon.cli import cli\n"
        "try:\n    cli(standalone_mode=False)\nexcept SystemExit:\n    pass\n"
        "heavy = {{'torch', 'numba', 'faiss', 'sentence_transformers', 'transformers', 'pyarrow'}}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    for arguments in (["--help"], ["curate", "--help"], ["explain", "doc-1", "-o", str(curated.output)]):
        result = subprocess.run(
            [sys.executable, "-c", code.format(arguments=arguments)], capture_output=True, text=True
        )
        assert result.returncode == 0, (arguments, result.stderr)
