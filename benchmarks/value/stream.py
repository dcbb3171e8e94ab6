"""A stream like a crawl, with known ills: nine real domains in bursts, copies, edited copies, boilerplate, junk.

The held-out documents are the same for every seed. Groups (versions of a page, chapters of a book) lie on one side of
the split, and a document that shares more than 5 % of its runs of eight words with what is held out is in no stream.
"""

from __future__ import annotations

import base64
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.corpus import read_zst_jsonl

# Shares of the tokens that are good, and where their documents come from.
DOMAINS = {
    "win32": (0.60, "web/win32"),
    "powershell": (0.08, "web/powershell-docs"),
    "news": (0.10, "labelled/20newsgroups"),
    "arxiv": (0.06, "web/arxiv-abstracts"),
    "books": (0.06, "web/books"),
    "reviews": (0.04, "labelled/movie-reviews"),
    "peps": (0.03, "web/peps"),
    "tldr": (0.015, "web/tldr"),
    "laws": (0.015, "web/gesetze-de"),
}
NATURAL = {domain: share for domain, (share, _) in DOMAINS.items()}
ENGLISH = tuple(domain for domain in DOMAINS if domain != "laws")
HELD_BYTES = 45_000  # a domain
OVERLAP_WORDS = 8
HTML_PAGES = 300

# Ills that follow a good document, with their probability.
EXACT, EDITED, BOILERPLATE, JUNK = 0.30, 0.16, 0.10, 0.26
POPULAR, POPULAR_SHARE = 40, 0.35  # documents that a third of the exact copies are of
RECENT = 300

_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_MAX_LAW = 30_000
_MIN_CHARACTERS = 200
_BOOK_PIECES = (3000, 6000, 12000, 30000)
_MAX_BOOK_PIECES = 60

BLOCKS = (
    "We value your privacy. This site stores cookies on your device so that pages load faster and advertising can be "
    "measured. By pressing accept you agree to the storing of cookies. Accept all | Reject all | Manage choices",
    "Sign in to {site}. User name or e-mail address. Password. Remember me on this device. Forgot your password? New "
    "here? Create an account. By signing in you accept the terms of use and the privacy notice of {site}.",
    "404 Not found. The page that you asked for does not exist on {site}, or was moved. Check the address, go back to "
    "the home page, or use the search. Error code {number}.",
    "Home | About | Products | Support | Downloads | Contact | Careers | Press | Site map | Imprint. Copyright {year} "
    "{site}. All rights reserved. Terms of service. Privacy policy. Cookie policy.",
    "Subscribe to our newsletter! Get the best offers from {site} in your inbox every week. Enter your e-mail address. "
    "Unsubscribe at any time. Follow us: Facebook Twitter Instagram YouTube LinkedIn. Share this page.",
    "Limited warranty. THE SOFTWARE IS PROVIDED BY {site} AS IS, WITHOUT ANY WARRANTY, EXPRESS OR IMPLIED. IN NO EVENT "
    "SHALL {site} BE LIABLE FOR ANY DAMAGES WHATSOEVER ARISING OUT OF THE USE OF THIS SOFTWARE. Version {number}.",
    "Your basket is empty. Continue shopping. Delivery and returns. Size guide. Gift cards. Secure payment by card or "
    "transfer. Customers also viewed: item {number}. Add to basket. Add to wish list. {site} price promise.",
    "Please enable JavaScript to view this page. Your browser is out of date. To use {site} we recommend a current "
    "version. Learn how to update. Loading... Please wait while we check your browser. Request {number}.",
)
SITES = ("example shop", "Contoso", "the portal", "MyForum", "NewsSite")
SPAM = (
    "cheap", "buy", "online", "best", "price", "discount", "free", "shipping", "pills", "casino", "bonus", "loan",
    "credit", "replica", "watches", "bags", "shoes", "hotel", "deals", "download", "full", "movie", "crack",
    "serial", "key", "generator", "seo", "ranking", "backlinks", "poker", "slots", "payday", "weight", "loss",
    "forex", "signals", "crypto", "profit", "guaranteed", "click", "here", "now",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Original:
    """A document of a corpus. Those of one `group` are versions or chapters of one; `label` is the site, so to say."""

    id: str
    group: str
    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Streamed:
    """A document of a stream: good:DOMAIN, exact, edited, boilerplate or junk:KIND, made from the document `base`."""

    id: str
    kind: str
    base: str
    text: str


@dataclass(frozen=True, slots=True)
class Split:
    """Held-out texts, training documents, and HTML pages to make junk of."""

    held: dict[str, list[str]]
    training: dict[str, list[Original]]
    html: list[str]


def split(corpora: Path) -> Split:
    """The documents of every domain. Some seconds a domain, for the overlaps."""
    held, training = {}, {}
    for domain, (_, name) in DOMAINS.items():
        held[domain], training[domain] = _split_domain(domain, list(_originals(domain, corpora / f"{name}.jsonl.zst")))
    pages = read_zst_jsonl(corpora / "crawl" / "html-pages.jsonl.zst")
    return Split(held, training, [page["text"] for page, _ in zip(pages, range(HTML_PAGES), strict=False)])


def _originals(domain: str, path: Path) -> Iterator[Original]:
    for row in read_zst_jsonl(path):
        text = row["text"].replace("\r\n", "\n").replace("\ufeff", "")
        if domain == "tldr" and row.get("lang") != "en":
            continue
        if domain in ("win32", "powershell", "laws"):
            text = _FRONT_MATTER.sub("", text)
        if domain == "laws":
            text = text[:_MAX_LAW]
        label = str(row.get("label") or "")
        if domain == "books":
            yield from (Original(f"{row['id']}#{i}", row["id"], label, piece) for i, piece in _pieces(row["id"], text))
        elif len(text) >= _MIN_CHARACTERS:
            yield Original(row["id"], row.get("group") or row["id"], label, text)


def _pieces(book: str, text: str) -> Iterator[tuple[int, str]]:
    """A book in pieces of random lengths, cut at paragraphs."""
    rng = random.Random(book)
    piece, wanted, number = "", rng.choice(_BOOK_PIECES), 0
    for paragraph in re.split(r"\n\s*\n", text):
        piece += re.sub(r"\s+", " ", paragraph).strip() + "\n\n"
        if len(piece) > wanted:
            yield number, piece
            piece, wanted, number = "", rng.choice(_BOOK_PIECES), number + 1
            if number > _MAX_BOOK_PIECES:
                return


def _runs(text: str) -> set[int]:
    words = re.findall(r"\w+", text.lower())
    return {hash(tuple(words[i : i + OVERLAP_WORDS])) for i in range(len(words) - OVERLAP_WORDS + 1)}


def _overlap(runs: set[int], others: set[int]) -> float:
    return len(runs & others) / len(runs) if runs else 0.0


def _split_domain(domain: str, originals: list[Original]) -> tuple[list[str], list[Original]]:
    by_group: defaultdict[str, list[Original]] = defaultdict(list)
    for original in originals:
        by_group[original.group].append(original)
    groups = sorted(by_group)
    random.Random("held" + domain).shuffle(groups)
    held: list[str] = []
    used: set[str] = set()
    seen: set[int] = set()
    for group in groups:
        members = by_group[group][2:5] if domain == "books" else by_group[group][:1]
        texts = [member.text[:3000] if domain == "books" else member.text for member in members]
        if not texts or (len(texts[0]) < 600 and domain != "tldr"):
            continue
        used.add(group)
        runs = set().union(*(_runs(text[:4000]) for text in texts))
        if _overlap(runs, seen) > 0.1:
            continue
        seen |= runs
        held += texts
        if sum(len(text.encode()) for text in held) > HELD_BYTES:
            break
    shared = set().union(*(_runs(text) for text in held))
    rest = [original for original in originals if original.group not in used]
    if domain != "tldr":  # pages of one form, whose phrases all share
        rest = [original for original in rest if _overlap(_runs(original.text[:20_000]), shared) <= 0.05]
    return held, rest


@dataclass(slots=True)
class _Crawl:
    """The good documents in the order in which a crawl would meet them, site by site."""

    rng: random.Random
    pools: dict[str, list[Original]]
    position: dict[str, int] = field(default_factory=dict)
    taken_B: dict[str, int] = field(default_factory=dict)

    @classmethod
    def over(cls, rng: random.Random, training: Mapping[str, Sequence[Original]]) -> _Crawl:
        pools = {domain: _site_by_site(rng, domain, originals) for domain, originals in training.items()}
        return cls(rng, pools, dict.fromkeys(pools, 0), dict.fromkeys(pools, 0))

    def burst(self) -> Iterator[tuple[str, Original]]:
        """Some documents of the domain that lacks most."""
        total = sum(self.taken_B.values()) + 1
        domain = max(self.pools, key=lambda name: NATURAL[name] - self.taken_B[name] / total + self.rng.random() * 0.02)
        for _ in range(self.rng.randrange(3, 12)):
            original = self.pools[domain][self.position[domain] % len(self.pools[domain])]
            self.position[domain] += 1
            self.taken_B[domain] += len(original.text.encode())
            yield domain, original


def _site_by_site(rng: random.Random, domain: str, originals: Sequence[Original]) -> list[Original]:
    def site_of(original: Original) -> str:
        return original.group if domain == "books" else original.label

    sites: defaultdict[str, list[Original]] = defaultdict(list)
    for original in originals:
        sites[site_of(original)].append(original)
    order = sorted(sites)
    rng.shuffle(order)
    return [
        original
        for site in order
        for original in (sites[site] if domain == "books" else rng.sample(sites[site], len(sites[site])))
    ]


def build(data: Split, seed: int, num_bytes: int, *, with_ills: bool = True) -> list[Streamed]:
    """A stream of about so many bytes; another seed, another crawl."""
    rng = random.Random(f"stream{seed}")
    crawl = _Crawl.over(rng, data.training)
    stream: list[Streamed] = []
    recent: list[Original] = []
    popular: list[Original] = []
    size_B = 0

    def emit(kind: str, base: str, text: str) -> None:
        nonlocal size_B
        stream.append(Streamed(f"{kind}/{len(stream)}", kind, base, text))
        size_B += len(text.encode())

    while size_B < num_bytes:
        for domain, original in crawl.burst():
            emit(f"good:{domain}", original.id, original.text)
            recent = [*recent, original][-RECENT:]
            if len(popular) < POPULAR and len(original.text) < 4000 and rng.random() < 0.15:
                popular.append(original)
            if not with_ills:
                continue
            if rng.random() < EXACT:
                copied = rng.choice(popular if popular and rng.random() < POPULAR_SHARE else recent)
                emit("exact", copied.id, copied.text)
            if rng.random() < EDITED:
                copied = rng.choice(recent)
                emit("edited", copied.id, _edited(rng, copied.text))
            if rng.random() < BOILERPLATE:
                emit("boilerplate", "", _boilerplate(rng))
            if rng.random() < JUNK:
                kind = rng.choices(list(_JUNK), [weight for weight, _ in _JUNK.values()])[0]
                emit(f"junk:{kind}", "", _JUNK[kind][1](rng, recent, data.html))
    return stream


def _boilerplate(rng: random.Random) -> str:
    text = "\n\n".join(rng.sample(BLOCKS, rng.choice([2, 3, 4])))
    return text.format(site=rng.choice(SITES), number=rng.randrange(100, 999), year=rng.randrange(1999, 2026))


def _edited(rng: random.Random, text: str) -> str:
    """The same page on another day: a footer, some words, or its end cut off."""
    how = rng.choice(["footer", "words", "cut"])
    if how == "footer":
        day, month, year = rng.randrange(1, 29), rng.randrange(1, 13), rng.randrange(2001, 2026)
        return f"{text}\n\nUpdated {day}.{month}.{year} | {rng.randrange(9999)} views"
    if how == "cut":
        return text[: int(len(text) * 0.93)]
    words = re.split(r"(\s+)", text)
    for _ in range(max(1, len(words) // 200)):
        words[rng.randrange(0, len(words), 2)] = rng.choice(["new", "the", "some", "other", "value"])
    return "".join(words)


def _shuffled(rng: random.Random, recent: Sequence[Original], html: Sequence[str]) -> str:
    words = rng.choice(recent).text.split()
    rng.shuffle(words)
    return " ".join(words[: rng.randrange(150, 700)])


def _debris(rng: random.Random, recent: Sequence[Original], html: Sequence[str]) -> str:
    page = rng.choice(html)
    start = rng.randrange(max(1, len(page) - 4000))
    return page[start : start + rng.randrange(1000, 4000)]


def _spam(rng: random.Random, recent: Sequence[Original], html: Sequence[str]) -> str:
    return " ".join(rng.choice(SPAM) for _ in range(rng.randrange(100, 500)))


def _log(rng: random.Random, recent: Sequence[Original], html: Sequence[str]) -> str:
    def line() -> str:
        month, day, hour, minute = rng.randrange(1, 13), rng.randrange(1, 29), rng.randrange(24), rng.randrange(60)
        level, what = rng.choice(["INFO", "WARN", "ERROR"]), rng.choice(["request", "commit", "flush", "retry"])
        clock, worker = f"2025-{month:02}-{day:02}T{hour:02}:{minute:02}Z", rng.randrange(32)
        return f"{clock} {level} [worker-{worker}] {what} id={rng.getrandbits(64):016x} in {rng.randrange(9999)} ms"

    return "\n".join(line() for _ in range(rng.randrange(8, 40)))


def _base64(rng: random.Random, recent: Sequence[Original], html: Sequence[str]) -> str:
    return base64.b64encode(rng.randbytes(rng.randrange(600, 2400))).decode()


_JUNK: dict[str, tuple[int, Callable[[random.Random, Sequence[Original], Sequence[str]], str]]] = {
    "shuffled": (3, _shuffled),
    "html": (3, _debris),
    "spam": (2, _spam),
    "log": (2, _log),
    "base64": (2, _base64),
}
