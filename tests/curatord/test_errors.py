"""Words of errors."""

from __future__ import annotations

import pickle

from curatord.errors import CuratordError, SequenceGap, Undecodable, first_line


def test_the_first_line_of_an_error_is_its_message_or_its_name() -> None:
    assert first_line(ValueError("no such file\nin a folder")) == "no such file"
    assert first_line(KeyError()) == "KeyError"
    assert first_line(OSError("x" * 500)) == "x" * 200


def test_errors_travel_between_processes_as_they_are() -> None:
    errors = [
        CuratordError("what is wrong"),
        Undecodable("damaged_file", "no gzip", has_original=True),
        SequenceGap("a gap", expected=3, found=5),
    ]
    for error in errors:
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert vars(copy) == vars(error)
