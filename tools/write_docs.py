"""Write the pages that are made from the code: `make docs`."""

from __future__ import annotations

from pathlib import Path

from daemon.config import Config, show_config
from ops.metrics import MAX_SERIES, Metrics

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
        f"| `{metric.name}` | {metric.kind} | {', '.join(metric.labels)} | {metric.max_series} | {metric.question} |\n"
        for metric in Metrics().catalogue
    )
    return METRICS_HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(configuration_page(), encoding="utf-8")
    METRICS_PAGE.write_text(metrics_page(), encoding="utf-8")
