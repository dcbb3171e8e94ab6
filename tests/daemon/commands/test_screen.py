"""Text of documents never moves the cursor, hides, or makes a line of its own, in any command."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from consumers.formats.dead_letters import StoredLetter
from curatord.printable import printable
from curatord.records import DeadLetter
from daemon.commands.dead_letters import Overview, _letter_lines, _overview_lines
from daemon.commands.screen import show
from ops.log import LogConfig, open_log
from tests.daemon.conftest import Curated, Run, text_of

# A title, a cleared screen, a colour by C1, text from right to left, isolates, nothing visible, DEL, markup, a line.
HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b31m\u202eabc\u2066\u200b\ufeff\u2028\x7f\x00\U000e0041[red]loud[/red]\r\nFAKE"


def is_harmless(text: str) -> bool:
    return text.replace("\n", "").isprintable() and not any(line.startswith("FAKE") for line in text.splitlines())


@pytest.fixture
def hostile(curated: Curated, run: Run, tmp_path: Path) -> Curated:
    """Hostile documents came in: one that is kept, one that resembles it, one with its text, and rows that are none."""
    rows: list[dict[str, object]] = [
        {"id": f"{HOSTILE}{kind}", "text": text, "source": HOSTILE, "url": f"https://x/{HOSTILE}{kind}"}
        for kind, text in (("kept", text_of(901)), ("near", text_of(901) + " more"), ("same", text_of(901)))
    ]
    rows += [{"id": HOSTILE, HOSTILE: "no text"}, {"id": 1.5, "text": HOSTILE}]
    path = tmp_path / "evil\x1b[31m\u202e[red].jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + HOSTILE)
    told = run("curate", path, "-o", curated.output, "-c", curated.config)
    assert told.exit_code == 0, told.output
    assert is_harmless(told.output)
    return curated


def test_no_command_writes_what_a_terminal_obeys(hostile: Curated, run: Run) -> None:
    output = ["-o", hostile.output]
    shown = [
        run("explain", f"{HOSTILE}kept", *output),
        run("explain", f"{HOSTILE}near", *output),
        run("explain", f"{HOSTILE}same", *output),
        run("inspect", "state", *output),
        run("inspect", "output", *output),
        run("dead-letters", "list", *output),
        *(run("dead-letters", "show", number, *output) for number in range(1, 4)),
        run("retract", f"{HOSTILE}kept", f"{HOSTILE}never", *output, "-c", hostile.config),
    ]
    for told in shown:
        assert is_harmless(told.output), told.output
    assert printable(HOSTILE)[:20] in shown[1].output
    for told in (
        run("explain", f"{HOSTILE}near", *output, "--json"),
        run("dead-letters", "list", *output, "--json"),
        run("inspect", "state", *output, "--json"),
    ):
        assert is_harmless(told.output)
        json.loads(told.output)


def test_a_letter_of_a_topic_is_shown_escaped() -> None:
    letter = DeadLetter(
        source=HOSTILE,
        position=7,
        reason=HOSTILE,
        message=HOSTILE,
        original=HOSTILE.encode(),
        key=HOSTILE,
        index=None,
        truncated=False,
        traceparent=HOSTILE,
    )
    overview = Overview()
    overview.count(StoredLetter(HOSTILE, 1, letter))
    for lines in (_letter_lines(StoredLetter(HOSTILE, 1, letter)), _overview_lines(overview)):
        assert all(printable(line).isprintable() for line in lines)


def test_halves_of_surrogate_pairs_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show("\ud800 alone", "and \udcff")
    assert capsys.readouterr().out == "\\ud800 alone\nand \\udcff\n"


def test_a_line_of_the_log_is_plain_and_says_the_same() -> None:
    file = io.BytesIO()
    open_log(LogConfig(), file).info("removal_surge", source=HOSTILE, half="\ud800")
    open_log(LogConfig(), file).info("removal_surge", source=HOSTILE)
    open_log(LogConfig(), file).info("removal_surge", source="日本語")
    lines = file.getvalue().decode().splitlines()
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    assert [json.loads(line)["source"] for line in lines] == [HOSTILE, HOSTILE, "日本語"]
    assert "日本語" in lines[2]
