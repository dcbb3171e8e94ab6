"""The unpacked size of Arrow is known before it is unpacked, and bounds what is read."""

from __future__ import annotations

import io

import pyarrow as pa
import pytest

from consumers.formats.arrow_sizes import record_batches
from curatord.errors import Undecodable

TEXT = "a" * 100_000


def arrow(*, compression: str | None, as_file: bool) -> bytes:
    """Three batches of one text each."""
    table = pa.table({"text": [TEXT] * 3})
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (pa.ipc.new_file if as_file else pa.ipc.new_stream)(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=1)
    return sink.getvalue()


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_batches_are_read_until_they_unpack_to_too_much(compression: str | None, as_file: bool) -> None:
    raw = arrow(compression=compression, as_file=as_file)

    assert len(list(record_batches(raw, 120_000, in_all=False))) == 3
    read = []
    with pytest.raises(Undecodable, match="unpacks to more") as refused:
        read.extend(record_batches(raw, 250_000, in_all=True))
    assert refused.value.reason == "too_large"
    with pytest.raises(Undecodable):
        list(record_batches(raw, 90_000, in_all=False))


def test_damage_is_told_after_the_batches_before_it() -> None:
    raw = arrow(compression=None, as_file=False)
    batches = record_batches(raw[:-90_000], 1 << 20, in_all=True)
    assert next(batches).num_rows == 1
    with pytest.raises((ValueError, OSError)):
        list(batches)
