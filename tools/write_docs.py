"""Write the pages that are made from the code: `make docs`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from consumers.formats.feedback import FEEDBACK_REASONS
from consumers.formats.undecodable import REASONS
from curation.quality.rules import RULES
from daemon.config import Config, show_config
from ops.catalogue import MAX_SERIES, Metric
from state.outcomes import LaterReason, Reason, Stage

REASONS_PAGE = Path(__file__).parents[1] / "docs" / "reasons.md"
METRICS_PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"

HEAD = """\
# Configuration

One TOML file (`-c`, else `./curatord.toml`, else `/etc/curatord/curatord.toml`). Every option has a default, shown \
here commented out; unknown keys are refused with the nearest known one. This page is what `curatord config new` \
prints, and `make docs` writes it.

"""


def configuration_page() -> str:
    """Every option, its default and what it means."""
    return f"{HEAD}```toml\n{show_config(Config(), comments=True)}```\n"


METRICS_HEAD = f"""\
# Metrics

What `/metrics` of a process says, and the question that each metric answers. Counters begin at 0 with the process. \
Every label is bounded: what comes beyond the bound is counted as `other`, so a process never has more than \
{MAX_SERIES:,} series. Beside these it exports `process_*` and `python_info`. `make docs` writes this page.

| name | type | labels | series at most | question |
|---|---|---|---|---|
"""


def metrics_page() -> str:
    """Every metric of the catalogue."""
    rows = (
        f"| `{metric.full_name}` | {metric.kind} | {', '.join(metric.labels)} | {metric.max_series} |"
        f" {metric.question} |\n"
        for metric in Metric
    )
    return METRICS_HEAD + "".join(rows)


REASONS_HEAD = """\
# Reasons

Every `stage` and `reason` of [verdicts](verdicts.md), `curatord inspect dropped`, `curatord explain` and the metric \
`curatord_rejections_total`. `make docs` writes this page.

"""


def reasons_page() -> str:
    """Every reason: of rejections when a document is read, of later ones, and of dead letters."""
    rejected = [(reason.stage.value, reason.value, reason.explanation) for reason in Reason]
    rejected += [(Stage.QUALITY.value, rule.name, rule.about) for rule in RULES]
    order = list(map(str, Stage))
    rejected.sort(key=lambda row: order.index(row[0]))
    later = [(reason.value, reason.explanation) for reason in LaterReason]
    return REASONS_HEAD + "\n".join(
        (
            _table("Rejected when read", ("stage", "reason", "meaning; for a rule, what it limits"), rejected),
            _table("Accepted, and rejected later", ("reason", "meaning"), later),
            _table("Dead letters", ("reason", "meaning"), (REASONS | FEEDBACK_REASONS).items()),
        )
    )


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A section with one table; the last column is prose, the others are names."""
    head = f"## {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    return head + "".join(f"| {' | '.join([*(f'`{name}`' for name in names), prose])} |\n" for *names, prose in rows)


if __name__ == "__main__":
    REASONS_PAGE.write_text(reasons_page(), encoding="utf-8")
    PAGE.write_text(configuration_page(), encoding="utf-8")
    METRICS_PAGE.write_text(metrics_page(), encoding="utf-8")
