"""Write the pages that are made from the code: `make docs`."""

from __future__ import annotations

from pathlib import Path

from daemon.config import Config, show_config

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


if __name__ == "__main__":
    PAGE.write_text(configuration_page(), encoding="utf-8")
