"""The main text of a page: navigation, lists of links, comments and the like go, the article stays.

lxml parses the page, and elements go that say by tag, class or id what they are (as trafilatura's lists do, A.
Barbaresi, 2021), unless nearly a third of the paragraphs stands in them. Of a page with enough paragraphs the smallest
element stays that holds nearly all of them. resiliparse finds the main content in the rest and writes it as plain
blocks (J. Bevendorff et al., 2018). Blocks that are mostly links go, and so do short ones before the first and behind
the last long one (C. Kohlschuetter et al., Boilerplate Detection, 2010). Numbers against each library alone:
docs/decisions/0050.
"""

from __future__ import annotations

import html
import re
from collections import defaultdict
from typing import Any

import lxml.html
from lxml import etree
from resiliparse.extract.html2text import extract_plain_text

MAX_SHARE = 0.3  # of the paragraphs of a page, beyond which an element is no decoration
MIN_PARAGRAPHS = 200  # characters in paragraphs, below which all text is looked at
MIN_ARTICLE = 1000  # characters in paragraphs, from which on they are taken for an article
CONTAINED = 0.9  # of them in the element that is taken for its container
MIN_TEXT = 250  # characters: a page that is left with less is read as it was
MAX_LINKS = 0.6  # of the characters of a block
LONG_BYTES = 80  # of a block that may begin or end a text
SENTENCE_BYTES = 20  # the same of one that ends as sentences do
LONG_LINKS = 0.4  # of its characters at most

_TAGS = frozenset({"aside", "footer", "nav", "form", "button", "figcaption"})
_LOOKED_AT = (*_TAGS, "div", "section", "ul", "ol", "p", "span", "header", "dl")
_CONTAINERS = ("div", "article", "section", "main", "td")
_DECORATION = re.compile(
    r"(?:^|[\s_-])(?:comments?|commentlist|disqus|respond|footer|sidebar|related|recommend(?:ed|ation|ations)?|share"
    r"|sharing|social|newsletter|subscribe|subscription|signup|promo|promoted|sponsor(?:ed)?|advert|advertisement|ads?"
    r"|banner|breadcrumbs?|pagination|pager|navbar|nav|navigation|menu|cookies?|popup|modal|byline|tags?|teaser"
    r"|outbrain|taboola|trending|popular|caption|credit|toolbar|copyright|rating|print|also|jp-post-flair|author-bio"
    r"|read-?more|most-?read)(?:$|[\s_-])",
    re.IGNORECASE,
)
_SENTENCE_ENDS = tuple('.!?。！？…"”»:)')
_LINK = re.compile(r"<a\b[^>]*>(.*?)</a>", re.DOTALL)
_XML = re.compile(r"\A\s{0,99}<\?xml[^>]{0,400}>")
_TAG = re.compile(r"<[^>]*>")


def main_text(page: str) -> str:
    """The main text, a line a block; "" where there is none."""
    blocks = _blocks(_without_decoration(page))
    if sum(len(text) for text, _ in blocks) < MIN_TEXT:
        blocks = _blocks(page)
    if not blocks:  # all of it stands in what is called decoration
        blocks = _blocks(page, main_content=False)
    kept = [(text, links) for text, links in blocks if links < MAX_LINKS]
    long = [at for at, (text, links) in enumerate(kept) if links < LONG_LINKS and _is_long(text)]
    if long:
        kept = kept[long[0] : long[-1] + 1]
    return "\n".join(text for text, _ in kept)


def _is_long(text: str) -> bool:
    return len(text.encode()) >= (SENTENCE_BYTES if text.endswith(_SENTENCE_ENDS) else LONG_BYTES)


def _blocks(page: str, *, main_content: bool = True) -> list[tuple[str, float]]:
    """The blocks of the main content, or of all, each with the share of its characters that are links."""
    written = extract_plain_text(
        page,
        preserve_formatting="minimal_html",
        main_content=main_content,
        links=True,
        alt_texts=False,
        comments=False,
        post_meta=False,
    )
    found = []
    for line in written.split("\n"):
        text = html.unescape(_TAG.sub("", line)).replace("\xa0", " ").strip()
        if text:
            linked = sum(len(_TAG.sub("", link)) for link in _LINK.findall(line)) if "<a" in line else 0
            found.append((text, linked / len(text)))
    return found


def _without_decoration(page: str) -> str:
    """The page without the elements that are none of its text."""
    try:
        tree = lxml.html.document_fromstring(_XML.sub("", page, count=1))
    except (etree.ParserError, ValueError):
        return page
    in_paragraphs = _in_paragraphs(tree)
    paragraphs = in_paragraphs[tree]
    everything = 0 if paragraphs > MIN_PARAGRAPHS else len(tree.text_content())
    for element in list(tree.iter(*_LOOKED_AT)):
        if element.tag not in _TAGS:
            said = f"{element.get('class') or ''} {element.get('id') or ''}"
            if len(said) < 2 or not _DECORATION.search(said):
                continue
        if element.getparent() is None:
            continue
        inside = len(element.text_content()) if everything else in_paragraphs[element]
        if inside <= MAX_SHARE * (everything or paragraphs):
            element.drop_tree()
    return _written(tree if everything else _container(tree))


def _container(tree: Any) -> Any:
    """The smallest element that holds nearly all that stands in paragraphs; the whole tree where that is little."""
    in_paragraphs = _in_paragraphs(tree)
    container = tree
    if in_paragraphs[tree] >= MIN_ARTICLE:
        for element in tree.iter(*_CONTAINERS):  # an outer one before those within
            if in_paragraphs[element] >= CONTAINED * in_paragraphs[tree]:
                container = element
    return container


def _written(tree: Any) -> str:
    page = str(etree.tostring(tree, encoding="unicode", method="html", with_tail=False))
    return page if tree.tag == "html" else f"<html><body>{page}</body></html>"


def _in_paragraphs(tree: Any) -> defaultdict[Any, int]:
    """Characters that stand in paragraphs, by the elements around them."""
    found = defaultdict[Any, int](int)
    for paragraph in tree.iter("p"):
        num = len(paragraph.text or "") + sum(len(child.tail or "") for child in paragraph)
        found[paragraph] += num
        for outer in paragraph.iterancestors():
            found[outer] += num
    return found
