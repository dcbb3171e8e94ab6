"""Printable: text of documents for a terminal, where control characters would move the cursor or turn a line around."""

from __future__ import annotations


def printable(text: str, *, keep: str = "") -> str:
    r"""The text with everything escaped that is no visible character or space; `keep` stays as it is.

    Escaped are control characters of both kinds, marks of direction, zero-width and private characters, separators of
    lines, spaces that are none, and halves of surrogate pairs, which no terminal takes.

    >>> print(printable("a\x1b[31m\u202e\u200b\x9b\ud800\n"))
    a\x1b[31m\u202e\u200b\x9b\ud800\n
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in keep
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )
