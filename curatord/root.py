"""Root: where the packages of the application are, for the command and for `curatord.prepare`."""

from __future__ import annotations

from pathlib import Path


def application_root() -> Path:
    """`curatord/_app` when installed, the checkout otherwise."""
    installed = Path(__file__).parent / "_app"
    return installed if installed.is_dir() else Path(__file__).parent.parent
