"""Notices: found where they are written, in every form, and refused only where that is asked for."""

from __future__ import annotations

import pytest

from curation.acquisition.notices import notice

ALL = ("noai", "tdm", "nc", "nd", "sa")


@pytest.mark.parametrize(
    ("page", "headers", "found"),
    [
        ("", {"x-robots-tag": "noindex, NoAI"}, "noai"),
        ("", {"x-robots-tag": "noimageai"}, "noai"),
        ('<META content="nofollow, noai" name="robots">', {}, "noai"),
        ("<meta name=robots content=noai>", {}, "noai"),
        ("", {"tdm-reservation": "1"}, "tdm"),
        ("<meta name='tdm-reservation' content='1'>", {}, "tdm"),
        (
            '<a rel="license" href="https://creativecommons.org/licenses/by-nc-sa/4.0/">',
            {},
            "nc (creativecommons by-nc-sa)",
        ),
        ("<link href='http://creativecommons.org/licenses/by-nd/3.0' rel='license'>", {}, "nd (creativecommons by-nd)"),
        ("", {"x-robots-tag": "noindex", "tdm-reservation": "0"}, ""),
        ("<meta name=robots content=noarchive><meta name=description content=noai>", {}, ""),
        ('<a href="https://creativecommons.org/licenses/by-nc/4.0/">a licence of another</a>', {}, ""),
        ("<a rel=license href=https://creativecommons.org/licenses/by/4.0/>", {}, ""),
        ("<p>noai tdm-reservation nc</p>", {}, ""),
    ],
)
def test_a_notice_is_found_where_it_counts(page: str, headers: dict[str, str], found: str) -> None:
    assert notice(page, headers, ALL) == found
    assert notice(page, headers, ()) == ""
