"""Documents with personal data and secrets in every place, and a search for them in everything that a run leaves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from state.store import Store
from tests.simulation.world import tokenizer

# Each has a piece that stands in no other text.
SECRETS = {
    "ann.qvortrup@example-mail.com": "qvortrup",
    "+49 30 90182 0": "49 30 90182",
    "+12125552368": "2125552368",
    "DE89 3704 0044 0532 0130 00": "0044 0532",
    "4111 1111 1111 1111": "1111 1111",
    "AKIAIOSFODNN7EXAMPLE": "IOSFODNN7",
    "ghp_" + "q1W2e3R4" * 5: "q1W2e3R4",
    "81.169.145.78": "81.169.145",
    "2a00:1450:4001:81b::200e": "4001:81b",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA1c7zzPad7\n-----END RSA PRIVATE KEY-----": "MIIEpAIBAAK",
}
PIECES = [piece.encode() for piece in SECRETS.values()]


def planted(number: int, words: Iterable[str]) -> dict[str, str]:
    """A record with two of them in its text, and one in its id, address, source and a field beside."""
    secrets = list(SECRETS)
    first, second, third = (secrets[(number * step + step) % len(secrets)] for step in (1, 3, 7))
    text = " ".join(words)
    return {
        "id": f"user/{third.splitlines()[0] if 'BEGIN' not in third else 'ann.qvortrup@example-mail.com'}/{number}",
        "text": f"{text[: len(text) // 2]} {first}, {text[len(text) // 2 :]} ({second})",
        "url": f"https://example.org/{number}?mail=ann.qvortrup%40example-mail.com",
        "source": "box of ann.qvortrup@example-mail.com" if number % 5 == 0 else f"source-{number % 3}",
        "note": first,
    }


def broken(number: int) -> bytes:
    """A row that cannot be read, with them in it."""
    secrets = list(SECRETS)
    name = "ann.qvortrup@example-mail.com"
    record = {"tex": secrets[number % len(secrets)], name: secrets[number * 3 % len(secrets)]}
    raw = json.dumps(record).replace("@", "\\u0040")
    return (raw if number % 2 else raw[:-9]).encode()


def pieces_in(raw: bytes) -> list[bytes]:
    """Those that stand there."""
    return [piece for piece in PIECES if piece in raw]


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """All bytes below a folder: of files as they are, tables unpacked, tokens as text, facts of the state."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir() and (path / "CURRENT").exists():
            yield from facts_of(path)
        if not path.is_file():
            continue
        yield str(path), path.read_bytes()
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            yield f"{path} unpacked", json.dumps(table.to_pylist(), default=str, ensure_ascii=False).encode()
            yield from tokens_of(path.name, table)
        elif path.suffix == ".arrow":
            with pa.ipc.open_stream(path) as stream:
                yield f"{path} unpacked", b"\n".join(repr(row).encode() for row in stream.read_all().to_pylist())


def tokens_of(name: str, table: Any) -> Iterator[tuple[str, bytes]]:
    """Sequences of a shard, decoded."""
    import numpy as np

    column = next((column for column in ("input_ids", "tokens") if column in table.column_names), None)
    for row in table.column(column).to_pylist() if column else ():
        yield f"{name} decoded", tokenizer().decode(np.array(row, np.uint32)).encode()


def facts_of(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Keys and values of a state."""
    store = Store(folder, read_only=True)
    try:
        for family in store.families():
            for key, value in store.items(family):
                yield f"{family} {key!r}", key + b" " + value
    finally:
        store.close()
