"""The stream of `make live`: docstrings, records, sums and random letters in equal shares, as fast as one trains.

Docstrings of the Python packages on this machine, which a model goes on learning from; records of one form with random
values, and sums, both of which it learns soon; and random letters, which cannot be learned.
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.request import urlopen

from kafka import KafkaProducer

from examples.tiny_trainer import GLOBAL_BATCH

KINDS = ("docstring", "record", "sum", "noise")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
LEAD = 64  # sequences that may wait for the trainer before the crawler pauses
BURST = 256  # documents that it writes at once
IN_FLIGHT = 1200  # documents that the daemon may have to read yet


def crawl(docstrings: Sequence[str], seed: int) -> Iterator[dict[str, str]]:
    """A document of each kind in turn, as long as there are docstrings."""
    rng = random.Random(seed)
    for number, docstring in enumerate(rng.sample(docstrings, len(docstrings))):
        record = "\n".join(
            f"user={rng.randrange(10**6)} status={rng.choice(('ok', 'failed'))} took={rng.randrange(999)} ms"
            for _ in range(9)
        )
        pairs = [(rng.randrange(1000), rng.randrange(1000)) for _ in range(8)]
        total = "\n".join(f"The sum of {a} and {b} is {a + b}." for a, b in pairs)
        noise = " ".join("".join(rng.choices(LETTERS, k=rng.randrange(3, 9))) for _ in range(30))
        for kind, text in zip(KINDS, (docstring, record, total, noise), strict=True):
            yield {"id": f"{kind}/{number}", "text": text, "source": "crawl"}


class Crawler(threading.Thread):
    """Writes as long as the trainer can follow, within a `with`."""

    def __init__(
        self, bootstrap: str, topic: str, folder: Path, port: int, documents: Iterator[dict[str, str]]
    ) -> None:
        super().__init__(daemon=True)
        self._producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=50)
        self._topic, self._folder, self._port, self._documents = topic, folder, port, documents
        self._stopping = threading.Event()
        self._sent = 0

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join()
        self._producer.close()

    def run(self) -> None:
        """Until it is told to stop."""
        while not self._stopping.wait(0.5):
            metrics = scrape(self._port)
            emitted = metrics.get("curatord_sequences_total", 0.0)
            in_flight = self._sent - sum(
                value for name, value in metrics.items() if name.startswith("curatord_documents_total")
            )
            if emitted - GLOBAL_BATCH * steps_taken(self._folder) >= LEAD or in_flight >= IN_FLIGHT:
                continue
            for _, document in zip(range(BURST), self._documents, strict=False):
                self._producer.send(self._topic, json.dumps(document).encode())
                self._sent += 1
            self._producer.flush()


def scrape(port: int) -> dict[str, float]:
    """The daemon's metrics; none while it starts."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    return {name: float(value) for name, value in re.findall(r"^(curatord_\S+) (\S+)$", text, re.M)}


def steps_taken(folder: Path) -> int:
    """Lines that rank 0 of the trainer logged."""
    path = folder / "train.0.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0
