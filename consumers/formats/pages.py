"""Pages: documents whose text is still to be read out of HTML, or out of a record of a web archive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from curatord.errors import Undecodable
from curatord.records import Document

CONTENT_TYPE_HEADER = "content-type"
HTML_TYPES = (b"text/html", b"application/xhtml+xml")

Form = Literal["html", "warc", "arc"]


class Page(Document, frozen=True, kw_only=True):
    """A document without its text, which is in `content`."""

    content: bytes
    form: Form
    content_type: str = ""  # as a header says, with the charset


ReadPage = Callable[[Page], Document]
"""A page as a document with its text. Raises Undecodable."""


def read_no_page(page: Page) -> Document:
    """For readers of records that are no pages. Raises Undecodable."""
    raise Undecodable("not_a_page", "a page of HTML, where texts are read")
