"""[input] takes no option that would have no effect, or none that is known."""

from __future__ import annotations

import msgspec
import pytest

from consumers.formats.input_config import InputConfig


def test_the_section_refuses_unknown_keys_and_absurd_limits() -> None:
    assert msgspec.convert({"fields": {"text": "content"}}, InputConfig).fields.text == "content"
    for section in ({"text": "content"}, {"fields": {"texts": "a"}}, {"max_document_bytes": 0}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(section, InputConfig)


@pytest.mark.parametrize("encoding", ["cp99", "idna"])
def test_an_encoding_that_python_does_not_know_is_refused(encoding: str) -> None:
    with pytest.raises(ValueError, match="no encoding"):
        InputConfig(encoding=encoding)


def test_an_encoding_of_seven_bits_is_refused_with_the_command_that_converts_it() -> None:
    with pytest.raises(ValueError, match="iconv -f iso2022_jp -t UTF-8"):
        InputConfig(encoding="iso2022_jp")
