"""Batches of prepared rows are taken, or refused with a reason, before anything in them is looked at."""

from __future__ import annotations

import pyarrow as pa
import pytest

from consumers.formats.prepared import Covers, decode_message, encode_message, rows_of_batch
from curatord.errors import IdentityError, StateError
from tests.daemon.prepared.parts import preparer, usual
from tests.simulation.world import make_config, make_rows


def test_rows_whose_schema_lost_its_metadata_are_refused_by_their_digest() -> None:
    batch = usual().prepare(make_rows(1, 4)).replace_schema_metadata(None)

    assert len(rows_of_batch(batch, usual().identity, "it")) == 4
    with pytest.raises(IdentityError, match="digest"):
        rows_of_batch(batch, preparer(make_config(input={"encoding": "cp1252"})).identity, "it")


def test_another_version_is_refused() -> None:
    batch = usual().prepare(make_rows(1, 4))
    newer = batch.replace_schema_metadata({**batch.schema.metadata, b"curatord.prepared": b"2"})

    with pytest.raises(IdentityError, match="version 2 of the format, and version 1"):
        decode_message(encode_message(newer), usual().identity, "it")


@pytest.mark.parametrize("raw", [b"", b"\xff\xff\xff\xff", b"no Arrow at all"])
def test_bytes_that_are_no_prepared_rows_are_refused(raw: bytes) -> None:
    with pytest.raises(StateError, match="the place"):
        decode_message(raw, usual().identity, "the place")


def test_a_batch_without_a_column_or_with_one_of_another_kind_is_refused() -> None:
    batch = usual().prepare(make_rows(1, 4))
    without = batch.drop_columns(["tokens"])
    other = batch.set_column(1, "position", pa.array([1.5, 2.5, 3.5, 4.5]))

    for damaged, column in ((without, "tokens"), (other, "position")):
        with pytest.raises(StateError, match=f"column '{column}'"):
            decode_message(encode_message(damaged), usual().identity, "it")


def test_an_empty_message_covers_positions_without_rows() -> None:
    covers = Covers("documents-0", 5, 9)

    message = decode_message(encode_message(usual().prepare([]), covers), usual().identity, "it")

    assert (message.rows, message.covers) == ([], covers)
