"""No character of a document moves the cursor, and every visible one stays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from curatord.printable import printable


@given(st.text(st.characters()))
def test_any_text_becomes_visible(text: str) -> None:
    assert printable(text).isprintable()


def test_visible_text_stays_as_it_is() -> None:
    for text in ("größer 日本語 😀", "a b", ""):
        assert printable(text) is text
    assert printable("a\nb\x07", keep="\n") == "a\nb\\x07"
