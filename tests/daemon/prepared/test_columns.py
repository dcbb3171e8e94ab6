"""Prepared rows decide as the rows themselves, wherever they were cut, and mean nothing where they do not fit."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from consumers.broker import RawDocument
from consumers.formats.prepared import decode_message, encode_message
from curatord.errors import StateError
from daemon.prepared.columns import stretches
from tests.daemon.prepared.parts import facts, messages, preparer, reader, usual
from tests.simulation.world import REWARDED, make_config, make_rows, new_world, outcome, run

TEXTS = ["plain words", "Größe 日本語 🦩\n\ttabs", "a\x00b  \u0001", "‏ובכן", "the last"]
BALANCED: dict[str, dict[str, object]] = {
    "bandit": {**REWARDED},
    "mixture": {"rho": 0.5, "max_uses": 2},
}


@pytest.mark.parametrize("sections", [{}, BALANCED])
def test_prepared_rows_give_all_that_the_rows_themselves_give(
    tmp_path: Path, sections: dict[str, dict[str, object]]
) -> None:
    config = make_config(**sections, output={"holdout": 0.1})
    one = preparer(config)
    rows = [msgspec.structs.replace(row, source="new") for row in make_rows(7, 1200)]
    mixed = [*messages(rows[:500], one, (1, 7, 100), 2), *rows[500:600], *messages(rows[600:], one, (300,), 3)]
    worlds = []
    for name, documents in (("embedded", rows), ("prepared", messages(rows, one, (256,), 1)), ("mixed", mixed)):
        world = new_world(0, 0, tmp_path / name)
        world.documents = [*world.documents, *documents]
        run(world, config, tmp_path / name)
        worlds.append(world)

    embedded, prepared, cut_elsewhere = worlds
    assert outcome(prepared) == outcome(embedded)
    assert outcome(cut_elsewhere) == outcome(embedded)
    assert facts(prepared) == facts(embedded)
    assert outcome(embedded).holdouts
    assert outcome(embedded).dead_letters


def test_a_stretch_is_one_part_of_one_batch() -> None:
    rows = make_rows(1, 20)
    first, second = (messages(part, usual(), (20,), 0) for part in (rows[:8], rows[8:]))

    parts = stretches([*first[2:], *rows[:3], *second[:4], *second[6:]])

    assert [len(part) for part in parts] == [6, 3, 4, 6]
    assert stretches([]) == []


def test_texts_are_read_from_tokens_or_came_with_them() -> None:
    rows = [RawDocument("a", at, msgspec.json.encode({"text": text})) for at, text in enumerate(TEXTS)]

    arrivals, prepared = reader(make_config()).read(messages(rows, usual(), (100,), 0), 7)

    texts = arrivals.documents.texts
    assert [texts[b] for b in range(len(TEXTS))] == TEXTS
    assert texts.take(np.array([2, 0])).beginning(0, 3) == TEXTS[2][:3]
    assert texts.num_bytes().tolist() == [len(text.encode()) for text in TEXTS]
    assert arrivals.documents.ids == tuple(f"a:{at}" for at in range(len(TEXTS)))
    assert arrivals.first_ordinal == 7
    assert prepared.tokens[0].dtype == np.uint32


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("tokens", b"\xff\xff"),
        ("tokens_upper", b""),
        ("signature", b"short"),
        ("text_key", b"short"),
        ("failed_rules", None),
        ("kind", 7),
    ],
)
def test_values_that_contradict_the_description_are_refused(column: str, value: object) -> None:
    batch = usual().prepare([RawDocument("a", at, b'{"text": "words of a text"}') for at in range(3)])
    place = batch.schema.get_field_index(column)
    values = [batch.column(place)[0].as_py(), value, batch.column(place)[2].as_py()]
    damaged = batch.set_column(place, batch.schema.field(place), pa.array(values, batch.schema.field(place).type))
    rows = decode_message(encode_message(damaged), usual().identity, "it").rows

    with pytest.raises(StateError, match=column):
        reader(make_config()).read(rows, 0)
