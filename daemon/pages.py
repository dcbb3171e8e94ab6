"""Pages as documents: the fields beside a page, its main text, and what its record says where no field does."""

from __future__ import annotations

import msgspec

from consumers.formats.fields import MAX_ID_BYTES
from consumers.formats.input_config import InputConfig
from consumers.formats.pages import Page, ReadPage
from consumers.formats.timestamps import parse_timestamp
from curation.acquisition.reader import PageReader
from curation.acquisition.records import NoPage
from curatord.errors import Undecodable
from curatord.records import Document


def page_reader(config: InputConfig) -> ReadPage:
    """Reads pages in a process of its own, which begins with the first."""
    reader = PageReader(config.pages.max_bytes, config.pages.refuse)

    def read(page: Page) -> Document:
        try:
            found = reader.read(page.form, page.content, page.content_type)
        except NoPage as error:
            raise Undecodable(error.reason, str(error)) from None
        record_id = found.record_id if len(found.record_id.encode()) <= MAX_ID_BYTES else ""
        beside = {name: getattr(page, name) for name in Document.__struct_fields__}
        beside |= {
            "id": page.id or record_id or None,
            "text": found.text,
            "url": page.url or found.url,
            "timestamp_us": page.timestamp_us or parse_timestamp(found.date),
        }
        return msgspec.convert(beside, Document)

    return read
