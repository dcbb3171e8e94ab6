"""The screen at the end of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.commands.summary import NAME_WIDTH, Summary, summary_lines
from state.ledger import Ledger
from state.outcomes import Reason, Stage


def screen(
    preset: str, ledger: Ledger, *, slow_because: str = "", untaught_share: float = 0.0, width: int = 100
) -> str:
    summary = Summary(
        rows_this_run=10, seconds=1.0, training_seconds=0.0, student_versions=1, unchanged_inputs=0,
        ledger={name: getattr(ledger, name) for name in Ledger.__struct_fields__}, preset=preset, near_duplicates=(),
        clusters=(), num_clusters=0, documents_held=0, documents_buffered=0, tokens_held=0, index_bytes=0,
        generations=(),
        rows=1, rows_flushed=0,
        padding=0.0, padding_flushed=0.0, documents_cut=0, documents_split=0, documents_per_sequence=1.0, coherence=0.0,
        lossless=True, loss=None, tokenizer_slow_because=slow_because, superseded={}, passed_over={}, warnings=(),
        makes_vectors=True, untaught_share=untaught_share,
    )  # fmt: skip
    return "\n".join(line.plain for line in summary_lines(summary, Path("out"), "out", width))


@pytest.mark.parametrize(
    ("preset", "heading"),
    [
        ("observe", "documents that fail each; none decides (preset observe)"),
        ("fineweb", "documents that fail each; those of the preset fineweb decide"),
    ],
)
def test_the_screen_says_whether_the_rules_decide(preset: str, heading: str) -> None:
    ledger = Ledger(
        would_drop={"gopher_too_few_words": 4},
        bytes_measured=1000,
        would_drop_bytes={"gopher": 250, "c4": 1000, "fineweb": 0},
    )
    shown = screen(preset, ledger)
    assert heading in shown
    assert "share of the bytes that each preset rejects: gopher 25.0%, c4 100.0%, fineweb 0.0%" in shown
    assert "by default" not in shown


def test_every_stage_that_rejected_has_its_line_on_the_screen() -> None:
    ledger = Ledger()
    for number, reason in enumerate(Reason, 1):
        ledger.reject(reason.stage, reason, number, 0)

    lines = screen("observe", ledger, width=200).splitlines()

    for stage in Stage:
        (line,) = [line for line in lines if line.startswith(f"{stage.heading:<{NAME_WIDTH}}")]
        assert all(reason in line for reason in Reason if reason.stage is stage)


def test_a_slow_tokenizer_is_on_the_screen_with_the_reason() -> None:
    assert "several times slower than it could be: fastokens is not installed" in screen(
        "observe", Ledger(), slow_because="fastokens is not installed"
    )
    assert "slower" not in screen("observe", Ledger())


def test_documents_that_no_teacher_reads_are_on_the_screen_with_the_way_out() -> None:
    assert "36% of the documents are not English, one topic to the teacher: pip install fast-universal" in screen(
        "observe", Ledger(), untaught_share=0.36, width=200
    )
    assert "not English" not in screen("observe", Ledger())
