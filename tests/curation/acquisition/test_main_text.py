"""Main texts: held against those that people marked, and calm over strange pages."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from curation.acquisition.main_text import main_text
from tests.corpus import CORPORA, read_zst_jsonl

ARTICLE = "<p>The first sentence of the article, which has more than a few words in it.</p>" * 6


def _shingles(text: str) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return Counter(tuple(words[at : at + 4]) for at in range(max(1, len(words) - 3)))


@pytest.mark.skipif(not CORPORA.is_dir(), reason="needs the development corpora")
def test_articles_are_those_that_people_marked() -> None:
    scores = []
    for page in read_zst_jsonl(CORPORA / "crawl" / "html-pages.jsonl.zst"):
        if "main_text" in page:
            found, gold = _shingles(main_text(page["text"])), _shingles(page["main_text"])
            scores.append(2 * (found & gold).total() / max(1, found.total() + gold.total()))
    assert len(scores) > 90
    assert sum(scores) / len(scores) > 0.935


def test_decoration_goes_and_the_article_stays() -> None:
    page = f"""<html><body><nav><a href=/>Home</a></nav><div class="sidebar"><p>Latest news of the day</p></div>
    <div id=content>{ARTICLE}<ul class="related-links"><li><a href=/a>Another article of ours</a></li></ul></div>
    <div class=comments><p>First comment of a reader, who has an opinion.</p></div><footer>© Us</footer></html>"""
    text = main_text(page)
    assert text.count("The first sentence") == 6
    assert not re.search("Home|Latest|Another|comment|©", text)


@pytest.mark.parametrize("name", ["nav", "menu-page", "share", "footer"])
def test_a_page_that_stands_in_what_is_called_decoration_is_read(name: str) -> None:
    assert main_text(f"<html><body><div class='{name}'>{ARTICLE}</div></body></html>").count("The first sentence") == 6


@pytest.mark.parametrize(
    "page",
    [
        "",
        " ",
        "no page",
        "<",
        "<html>",
        "<p>",
        "<!doctype html>",
        "\0\0",
        "<?xml version='1.0' encoding='latin-1'?>",
        "<!--",
    ],
)
def test_next_to_nothing_is_read_as_next_to_nothing(page: str) -> None:
    assert len(main_text(page)) <= len(page)


def test_a_declaration_of_xml_costs_nothing() -> None:
    page = f"<html><body><nav>Menu of the page</nav>{ARTICLE}</body></html>"
    assert main_text(f'<?xml version="1.0" encoding="iso-8859-1"?>{page}') == main_text(page)


def test_entities_and_scripts() -> None:
    text = main_text(
        f"<html><body><script>alert('no')</script>{ARTICLE}<p>5 &lt; 6 &amp; 7 &gt; 6, as all know, always.</p>"
    )
    assert "5 < 6 & 7 > 6" in text
    assert "alert" not in text


def test_chinese_is_read() -> None:
    article = "<p>今天的会议讨论了许多重要的问题，与会者就经济发展与环境保护交换了意见。</p>" * 8
    assert main_text(f"<html><body><div>{article}</div></body></html>").count("今天的会议") == 8
