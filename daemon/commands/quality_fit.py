"""`curatord quality fit`: a head from files of good and of bad documents."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from curation.quality.fit import Labelled, fit_head
from curation.quality.judge import HEAD_NAME
from curatord.errors import UsageError
from daemon.commands.screen import show
from daemon.config import load_config
from daemon.reference_texts import documents_of

WORTHLESS = 0.6  # area under the curve, below which the screen says that a head is worth little


def quality_fit(
    good: Sequence[str], bad: Sequence[str], name: str, output: Path | None, config_path: Path | None, *, as_json: bool
) -> int:
    """Fit, write and report. Raises `UsageError` for a name that is none, too few documents, or a file that cannot
    be written."""
    if not HEAD_NAME.fullmatch(name):
        raise UsageError(f"--name {name!r}: a head is called by up to 48 of a-z, 0-9, - and _, the first a letter")
    path = output or Path(f"{name}.head")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--output {path}: there is no folder {path.parent}: name a file in one that exists")
    config = load_config(config_path)
    documents = [
        Labelled(text=text, is_good=is_good, source=source)
        for arguments, is_good, option in ((good, True, "--good"), (bad, False, "--bad"))
        for part in documents_of(arguments, config.input, option)
        for text, source in zip(part.texts, part.sources, strict=True)
    ]
    head = fit_head(documents, name)
    try:
        path.write_bytes(msgspec.msgpack.encode(head))
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}): name another file with --output") from error
    if as_json:
        click.echo(json.dumps({"file": str(path), **_plain(head.report)}, indent=2))
        return 0
    report = head.report
    show(f"{report['good']:,} good and {report['bad']:,} bad documents, out of fold:")
    show(f"  area under the curve        {report['auc']:.3f}   (of length alone {report['auc_of_length']:.3f})")
    for quarter in report["auc_by_length"]:
        of = f"{quarter['good']} good of {quarter['documents']}"
        show(f"    near {quarter['characters']:>7,} characters   {quarter['auc']:.3f}   {of}")
    for source, area in report["auc_by_source"].items():
        show(f"    source {source or '(none)':<20} {area:.3f}")
    show(f"  chances are off by          {report['calibration_error']:.3f}")
    if report["auc"] < WORTHLESS:
        show("  It hardly tells good from bad: 0.5 is chance. Give documents that differ in what you want.")
    show(f"{path} is written. To use it:")
    show(f"[quality.heads.{name}]")
    show(f"file = {json.dumps(str(path.resolve()))}")
    return 0


def _plain(value: Any) -> Any:
    """The same for JSON, which has no NaN."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
