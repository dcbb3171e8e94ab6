"""The packages of the application are found from the package that trainers install."""

from __future__ import annotations

from curatord.root import application_root


def test_a_checkout_is_its_own_root() -> None:
    assert (application_root() / "daemon" / "pipeline.py").is_file()
