"""Words of errors."""

from __future__ import annotations

from curatord.errors import first_line


def test_the_first_line_of_an_error_is_its_message_or_its_name() -> None:
    assert first_line(ValueError("no such file\nin a folder")) == "no such file"
    assert first_line(KeyError()) == "KeyError"
    assert first_line(OSError("x" * 500)) == "x" * 200
