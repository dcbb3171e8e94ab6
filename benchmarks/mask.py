"""Masking: `python -m benchmarks.mask [CORPORA]`.

What it costs: documents of about 3.8 KB, cut at paragraphs from real ones, through `prepare` from rows to a record
batch, with masking and without in turn; CPU time of one thread, the median of the repeats, after a first batch. How far
it agrees with datatrove's `PIIFormatter` on the texts of all corpora: documents that differ, by the reason. And what of
the other kinds is found there.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.quality import BATCH_DOCUMENTS, NUM_DOCUMENTS, cost_us
from benchmarks.texts import log_normal_texts
from consumers.broker import RawDocument
from curation.acquisition.findings import KINDS, Finder, Kind
from curation.acquisition.mask import KEY_VARIABLE, Mask, MaskConfig
from daemon.config import parse_config
from daemon.prepared.preparer import Preparer, open_preparer
from kernels.columns import join_texts
from kernels.spans import with_pieces
from tests.corpus import CORPORA, read_zst_jsonl

REPEATS = 7
KEY = "0123456789abcdef0123456789abcdef"
EMAIL, IP = "email@example.com", "22.214.171.124"
_BEHIND_LETTER = re.compile(r"[^\W\d_a-zA-Z]" + re.escape(EMAIL))


def main() -> None:
    """Print the tables."""
    corpora = Path(sys.argv[1]) if len(sys.argv) > 1 else CORPORA
    os.environ[KEY_VARIABLE] = KEY
    _print_cost(log_normal_texts(corpora, NUM_DOCUMENTS))
    _print_agreement(corpora)


def _print_cost(texts: list[str]) -> None:
    rows = [
        RawDocument("input", at, json.dumps({"id": str(at), "text": text}).encode()) for at, text in enumerate(texts)
    ]
    polls = [rows[first : first + BATCH_DOCUMENTS] for first in range(0, len(rows), BATCH_DOCUMENTS)]
    without, masking = (open_preparer(parse_config(tree, "")) for tree in ({}, {"mask": {"enabled": True}}))
    without.stage.tokenizer.settle()
    masking.stage.tokenizer.settle()
    times: dict[str, list[float]] = {"prepare": [], "prepare with [mask]": []}
    for _ in range(REPEATS):
        for name, preparer in zip(times, (without, masking), strict=True):
            times[name].append(_prepare_us(preparer, polls) / len(rows))
    mask = Mask(MaskConfig(), KEY.encode())
    batches = [join_texts(texts[first : first + BATCH_DOCUMENTS]) for first in range(0, len(texts), BATCH_DOCUMENTS)]
    found = sum(sum(kinds.values()) for batch in batches for kinds in mask.texts(batch).found.values())
    mean_bytes = sum(len(text.encode()) for text in texts) / len(texts)
    print(f"{len(texts)} documents of {mean_bytes:.0f} bytes, {found / len(texts):.2f} findings each\n")
    print("| | us a document |\n|---|---:|")
    for name, values in times.items():
        print(f"| {name} | {statistics.median(values):.1f} |")
    pairs = zip(*times.values(), strict=True)
    print(f"| the difference, median of pairs | {statistics.median(b - a for a, b in pairs):.1f} |")
    print(f"| masking the texts alone | {cost_us(lambda: [mask.texts(batch) for batch in batches], len(texts)):.1f} |")
    formatter = _formatter()
    print(
        f"| datatrove's formatter | {cost_us(lambda: [formatter.format(text) for text in texts], len(texts)):.1f} |\n"
    )


def _prepare_us(preparer: Preparer, polls: list[list[RawDocument]]) -> float:
    began = time.thread_time()
    for poll in polls:
        preparer.prepare(poll)
    return 1e6 * (time.thread_time() - began)


def _formatter() -> Any:
    from datatrove.pipeline.formatters import PIIFormatter

    return PIIFormatter(email_replacement=EMAIL, ip_replacement=IP)


def _texts(corpora: Path) -> Iterator[tuple[str, list[str]]]:
    """The texts of each file that has any."""
    for path in sorted(corpora.rglob("*.jsonl.zst")):
        texts = [record["text"] for record in read_zst_jsonl(path) if isinstance(record.get("text"), str)]
        texts = [text.encode("utf-8", "replace").decode() for text in texts]
        if texts:
            yield str(path.relative_to(corpora)).removesuffix(".jsonl.zst"), texts


def _print_agreement(corpora: Path) -> None:
    addresses, others = Finder({Kind.EMAIL, Kind.IP}), Finder({Kind.SECRET, Kind.IBAN, Kind.CARD, Kind.PHONE})
    formatter = _formatter()
    pieces = [{Kind.EMAIL: EMAIL, Kind.IP: IP}.get(kind, "").encode() for kind in KINDS]
    print("| texts | documents | changed | differ: IPv6 | behind a letter | otherwise | phone, IBAN, card, secret |")
    print("|---|---:|---:|---:|---:|---:|---|")
    totals: Counter[str] = Counter()
    for name, texts in _texts(corpora):
        joined = join_texts(texts)
        spans = addresses.find(joined)
        is_ipv6 = [b":" in joined.buffer_N[start:end].tobytes() for _, _, start, end in spans.tolist()]
        ours = list(with_pieces(joined, spans, pieces, spans[:, 1].copy())) if len(spans) else texts
        plain = spans[[not ipv6 for ipv6 in is_ipv6]]
        without = list(with_pieces(joined, plain, pieces, plain[:, 1].copy())) if len(plain) else texts
        counts: Counter[str] = Counter(documents=len(texts))
        for text, mine, ipv4, theirs in zip(texts, ours, without, map(formatter.format, texts), strict=True):
            counts["changed"] += theirs != text
            if mine != theirs:
                letter = _BEHIND_LETTER.search(ipv4)
                counts["ipv6" if ipv4 == theirs else "letter" if letter else "otherwise"] += 1
        found = Counter(str(KINDS[rank]) for rank in others.find(joined)[:, 1].tolist())
        totals += counts
        told = ", ".join(f"{kind} {count}" for kind, count in sorted(found.items())) or "0"
        print(f"| {name} | {_cells(counts)} | {told} |", flush=True)
    print(f"| all | {_cells(totals)} | |")


def _cells(counts: Counter[str]) -> str:
    return " | ".join(str(counts[name]) for name in ("documents", "changed", "ipv6", "letter", "otherwise"))


if __name__ == "__main__":
    main()
