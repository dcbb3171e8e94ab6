"""Bytes that are no document are answered with what to do."""

from __future__ import annotations

import re

import pytest

from consumers.formats.codec import decode_document
from consumers.formats.undecodable import REASONS
from curatord.errors import Undecodable


def test_the_table_of_reasons_is_closed_and_explained() -> None:
    assert all(sentence.endswith(".") for sentence in REASONS.values())


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        (b'{"text":{"body":"a"}}', 'text = "text.body"'),
        (b'{"text":["a","b"]}', "join its parts"),
        (b'{"data":[{"text":"a"},{"text":"b"}]}', "jq -c '.data[]'"),
        (b'["a","b"]', "{text: .[]}"),
        (b'"a"', "{text: .}"),
        (b'[{"text":"a"}]', "jq -c '.[]'"),
        (b'{"messages":[{"role":"user","content":"a"}]}', "chat template"),
        (b'{"instruction":"a","output":"b"}', "prompt template"),
    ],
)
def test_what_is_no_text_is_answered_with_what_to_do(raw: bytes, hint: str) -> None:
    with pytest.raises(Undecodable, match=re.escape(hint)):
        decode_document(raw)
