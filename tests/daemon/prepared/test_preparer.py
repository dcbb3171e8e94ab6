"""All that a row brings along comes out of its batch again."""

from __future__ import annotations

import msgspec

from consumers.broker import RawDocument
from consumers.formats.documents import decode_rows
from consumers.formats.input_config import InputConfig
from curatord.records import Retraction
from tests.daemon.prepared.parts import messages, reader, usual
from tests.simulation.world import make_config


def test_what_stands_beside_a_document_travels() -> None:
    record = {"id": "x", "text": "words of it", "url": "https://a.example/", "source": "s", "timestamp": 5}
    row = RawDocument("topic-3", 9, msgspec.json.encode(record), b"", 2, "key", 77, "trace", 1)
    number = msgspec.structs.replace(row, position=10, value=b'{"id": [], "text": "of a list"}')
    retraction = msgspec.structs.replace(row, position=11, value=Retraction(id="gone", timestamp_us=77), index=None)
    broken = msgspec.structs.replace(row, position=12, value=b"{", attempts=2)

    prepared = messages([row, number, retraction, broken], usual(), (4,), 0)
    arrivals, _ = reader(make_config()).read(prepared, 0)
    expected = decode_rows([row, number, retraction, broken], 0, InputConfig(), 1 << 16)

    assert [(each.source, each.position, each.index, each.timestamp_us) for each in prepared] == [
        ("topic-3", 9, 2, 77), ("topic-3", 10, 2, 77), ("topic-3", 11, None, 77), ("topic-3", 12, 2, 77),
    ]  # fmt: skip
    assert (prepared[3].traceparent, prepared[3].attempts) == ("trace", 2)
    assert arrivals.others == expected.others
    assert arrivals.id_problems == expected.id_problems
    assert arrivals.num_bytes(3) == expected.num_bytes(3)
    for name in ("ids", "urls", "sources", "inputs"):
        assert getattr(arrivals.documents, name) == getattr(expected.documents, name)
    for name in ("written_us_B", "positions_B", "sent_us_B"):
        assert getattr(arrivals.documents, name).tolist() == getattr(expected.documents, name).tolist()
