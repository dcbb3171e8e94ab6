"""Preparer: rows of an input to a batch of prepared ones. Pure: what comes out hangs on each row alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.broker import RawDocument
from consumers.formats.documents import Arrivals, decode_rows
from consumers.formats.prepared import DEAD_LETTER, DIGEST, DOCUMENT, RETRACTION, digest_of, schema_of
from curation.dedup.near import NearDedup
from curation.dedup.passages import Fingerprints
from curation.quality.judge import Quality
from curatord.records import DeadLetter, Retraction
from daemon.config import Config
from daemon.models import open_models
from daemon.pages import page_reader
from daemon.prepared.columns import Prepared
from daemon.prepared.identity import prepared_identity
from daemon.stages.mask import open_mask
from daemon.stages.prepare import Prepare, open_prepare
from kernels.passages import FINGERPRINT
from ops.blas import use_one_thread
from ops.memory import keep_freed_memory
from packing.tokenizer import open_tokenizer


def open_preparer(config: Config) -> Preparer:
    """All that a configuration needs to prepare, compiled.

    Raises `ConfigError` where it names something that is not there.
    """
    use_one_thread()
    keep_freed_memory()
    models = open_models(config)
    quality = Quality(config.quality, config.language, models.all, models.given)
    tokenizer, mask = open_tokenizer(config.tokenizer), open_mask(config.mask)
    stage = open_prepare(config, quality, NearDedup(config.dedup.near), tokenizer, mask)
    stage.compile()
    return Preparer(config, stage)


class Preparer:
    """All that is needed to prepare, read once."""

    def __init__(self, config: Config, stage: Prepare) -> None:
        self._config = config
        self.stage = stage
        self._read_page = page_reader(config.input)
        self.identity = prepared_identity(config, stage.tokenizer)

    def prepare(self, rows: Sequence[RawDocument]) -> Any:
        """A pyarrow.RecordBatch with a row for each of these, in their order."""
        decoded = decode_rows(rows, 0, self._config.input, self._config.dead_letters.max_bytes, self._read_page)
        arrivals = self.stage.arrivals(decoded)
        prepared = self.stage.all(arrivals.documents)
        return self._batch(arrivals, prepared)

    def _batch(self, arrivals: Arrivals, prepared: Prepared) -> Any:
        import pyarrow as pa

        schema = schema_of(self.identity)
        columns = {
            **_of_rows(arrivals),
            **_of_documents(arrivals, prepared),
            **_of_others(arrivals),
            DIGEST: [digest_of(self.identity)] * len(arrivals),
        }
        if prepared.contamination is not None:
            columns["question"] = _spread(arrivals, prepared.contamination.questions_B.tolist())
            columns["question_share"] = _spread(arrivals, prepared.contamination.shares_B.tolist())
        if prepared.fingerprints is not None:
            columns |= _of_passages(arrivals, prepared.fingerprints)
        if arrivals.documents.edits:
            columns["edits"] = _spread(arrivals, [edit or None for edit in arrivals.documents.edits])
        if not self.stage.tokenizer.lossless:
            columns["text"] = _spread(arrivals, list(arrivals.documents.texts))
        nothing = [None] * len(arrivals)
        arrays = []
        for field in schema:
            values = columns.get(field.name, nothing)
            arrays.append(values if isinstance(values, pa.Array) else pa.array(values, field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _of_rows(arrivals: Arrivals) -> dict[str, Any]:
    """Columns that every row has."""
    rows = arrivals.rows
    num_bytes_B = arrivals.documents.texts.num_bytes().tolist()
    sizes = _spread(arrivals, num_bytes_B)
    kinds = [DOCUMENT] * len(rows)
    for place, other in arrivals.others.items():
        kinds[place] = RETRACTION if isinstance(other, Retraction) else DEAD_LETTER
        sizes[place] = arrivals.num_bytes(place)
    return {
        "input": [row.source for row in rows],
        "position": [row.position for row in rows],
        "index": [row.index for row in rows],
        "kind": kinds,
        "sent_us": [row.timestamp_us for row in rows],
        "traceparent": [row.traceparent or None for row in rows],
        "attempts": [row.attempts for row in rows],
        "num_bytes": sizes,
    }


def _of_documents(arrivals: Arrivals, prepared: Prepared) -> dict[str, Any]:
    documents, measures, keys, tokens = arrivals.documents, prepared.measures, prepared.keys, prepared.tokens
    places_B, num_rows = arrivals.places_B, len(arrivals)
    ids, written_us = _spread(arrivals, documents.ids), _spread(arrivals, documents.written_us_B.tolist())
    for place, other in arrivals.others.items():
        if isinstance(other, Retraction):
            ids[place], written_us[place] = other.id, other.timestamp_us
    failed_BF = np.packbits(measures.failed_BR, axis=1, bitorder="little")
    lengths_B = tokens.lengths()
    lower_T, upper_T = tokens.values_T.astype("<u2"), np.zeros(0, np.uint8)
    if tokens.values_T.dtype == np.uint32:
        upper_T = (tokens.values_T >> np.uint32(16)).astype(np.uint8)
    return {
        "id": ids,
        "url": _spread(arrivals, documents.urls),
        "source": _spread(arrivals, documents.sources),
        "written_us": written_us,
        "id_problem": [arrivals.id_problems.get(place) for place in range(num_rows)],
        "text_key": _bytes_of(keys.texts_B2, places_B, num_rows),
        "url_key": _bytes_of(keys.urls_B2, places_B, num_rows),
        "quality": _spread(arrivals, measures.scores_B.tolist()),
        "language": _spread(arrivals, measures.languages_B),
        "language_score": _spread(arrivals, measures.language_scores_B.tolist()),
        "rule_values": _lists_of(
            np.concatenate((measures.values_BR, measures.model_scores_BM), axis=1), places_B, num_rows
        ),
        "failed_rules": _bytes_of(failed_BF, places_B, num_rows),
        "signature": _bytes_of(prepared.signatures_BU, places_B, num_rows),
        "has_words": _spread(arrivals, prepared.has_words_B.tolist()),
        "tokens": _binary(lower_T, 2 * lengths_B, places_B, num_rows),
        "tokens_upper": _binary(upper_T, lengths_B if len(upper_T) else 0 * lengths_B, places_B, num_rows),
    }


def _of_passages(arrivals: Arrivals, fingerprints: Fingerprints) -> dict[str, Any]:
    found_F, num_bytes_B = fingerprints.of_B.values_T, FINGERPRINT.itemsize * fingerprints.of_B.lengths()
    return {
        "passages": _binary(found_F, num_bytes_B, arrivals.places_B, len(arrivals)),
        "num_words": _spread(arrivals, fingerprints.num_words_B.tolist()),
    }


def _of_others(arrivals: Arrivals) -> dict[str, Any]:
    """Columns of dead letters; ids of retractions are among those of documents."""
    names = ("reason", "message", "original", "is_truncated", "key")
    columns: dict[str, list[Any]] = {name: [None] * len(arrivals) for name in names}
    for place, other in arrivals.others.items():
        if isinstance(other, DeadLetter):
            columns["reason"][place], columns["key"][place] = other.reason, other.key
            columns["message"][place] = other.message.encode("utf-8", "replace").decode()
            columns["original"][place], columns["is_truncated"][place] = other.original, other.truncated
    return columns


def _spread(arrivals: Arrivals, values: Sequence[Any]) -> list[Any]:
    """Values of the documents at their places among the rows."""
    if not arrivals.others:
        return list(values)
    spread: list[Any] = [None] * len(arrivals)
    for place, value in zip(arrivals.places_B.tolist(), values, strict=True):
        spread[place] = value
    return spread


def _bytes_of(values_BU: NDArray[Any], places_B: NDArray[np.int64], num_rows: int) -> Any:
    """The values of each document as bytes."""
    values_BU = np.ascontiguousarray(values_BU)
    width = values_BU.shape[1] * values_BU.itemsize
    return _binary(values_BU, np.full(len(places_B), width), places_B, num_rows)


def _binary(values: NDArray[Any], num_bytes_B: NDArray[np.int64], places_B: NDArray[np.int64], num_rows: int) -> Any:
    """Bytes that lie one behind the other, so many for each document, none for other rows."""
    import pyarrow as pa

    bounds = _bounds(num_bytes_B, places_B, num_rows)
    return pa.BinaryArray.from_buffers(pa.binary(), num_rows, [None, pa.py_buffer(bounds), pa.py_buffer(values)])


def _lists_of(values_BR: NDArray[np.float32], places_B: NDArray[np.int64], num_rows: int) -> Any:
    import pyarrow as pa

    bounds = _bounds(np.full(len(places_B), values_BR.shape[1]), places_B, num_rows)
    return pa.ListArray.from_arrays(pa.array(bounds), pa.array(values_BR.reshape(-1)))


def _bounds(lengths_B: NDArray[np.int64], places_B: NDArray[np.int64], num_rows: int) -> NDArray[np.int32]:
    lengths_R = np.zeros(num_rows + 1, np.int64)
    lengths_R[places_B + 1] = lengths_B
    bounds_R = np.cumsum(lengths_R)
    if bounds_R[-1] > np.iinfo(np.int32).max:
        raise OverflowError("a batch of more than 2 GiB in one column")
    return bounds_R.astype(np.int32)
