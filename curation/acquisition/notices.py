"""Notices by which a page keeps itself out of training: headers of HTTP, and elements of its head.

| name | where |
|---|---|
| noai | `X-Robots-Tag` or `<meta name=robots>` with `noai` or `noimageai` |
| tdm | `TDM-Reservation: 1`, as header or `<meta name=tdm-reservation>` (W3C TDMRep) |
| nc, nd, sa | a licence of Creative Commons with this condition, which the page names as its own (`rel=license`) |
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

HEAD_CHARACTERS = 64 << 10
_META = re.compile(r"<meta\b([^>]{1,1000})>", re.IGNORECASE)
_NAME = re.compile(r"\bname\s{0,9}=\s{0,9}[\"']?(robots|tdm-reservation)\b", re.IGNORECASE)
_CONTENT = re.compile(r"\bcontent\s{0,9}=\s{0,9}(?:\"([^\"]{0,400})|'([^']{0,400})|([^\s>]{1,400}))", re.IGNORECASE)
_LICENSE = re.compile(r"<(?:a|link)\b(?=[^>]{0,1000}\brel\s{0,9}=\s{0,9}[\"']?license\b)([^>]{1,1000})>", re.IGNORECASE)
_CONDITIONS = {"nc", "nd", "sa"}
_COMMONS = re.compile(r"creativecommons\.org/licenses/([a-z-]{2,20})", re.IGNORECASE)


def notice(page: str, headers: Mapping[str, str], refused: Collection[str]) -> str:
    """The first notice of those refused that the page or its headers give, with its words; "" without."""
    robots = [headers.get("x-robots-tag", "")]
    reservations = [headers.get("tdm-reservation", "")]
    for said in _META.findall(page[:HEAD_CHARACTERS]):
        name, content = _NAME.search(said), _CONTENT.search(said)
        if name and content:
            notices = robots if name[1].lower() == "robots" else reservations
            notices.append("".join(part or "" for part in content.groups()))
    if "noai" in refused and re.search(r"\bno(?:image)?ai\b", " ".join(robots), re.IGNORECASE):
        return "noai"
    if "tdm" in refused and any(value.strip() == "1" for value in reservations):
        return "tdm"
    links = _LICENSE.findall(page) if _CONDITIONS & set(refused) and "creativecommons" in page.lower() else []
    for link in links:
        commons = _COMMONS.search(link)
        conditions = commons[1].lower() if commons else ""
        for condition in conditions.split("-"):
            if condition in refused:
                return f"{condition} (creativecommons {conditions})"
    return ""
