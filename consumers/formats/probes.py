"""Probes: requests for rewards, as JSON, which any scorer reads."""

from __future__ import annotations

import msgspec

from curatord.errors import Undecodable
from curatord.records import WIRE_VERSION, Probe

MAX_PROBE_BYTES = 1_000_000  # what a topic takes unless told otherwise

_DECODER = msgspec.json.Decoder(Probe)


def encode_probe(probe: Probe) -> bytes:
    """The value of a message, of at most `MAX_PROBE_BYTES`: of a text that is longer in JSON, the beginning."""
    value = msgspec.json.encode(probe)
    while len(value) > MAX_PROBE_BYTES:
        kept = len(probe.text) * MAX_PROBE_BYTES // (2 * len(value))
        probe = msgspec.structs.replace(probe, text=probe.text[:kept])
        value = msgspec.json.encode(probe)
    return value


def decode_probe(value: bytes | None) -> Probe:
    """The request in the value of one message. Raises Undecodable, and nothing else, for any bytes."""
    try:
        probe = _DECODER.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Undecodable("probe_unreadable", f"{error}; it begins with {(value or b'')[:16]!r}") from None
    if probe.version != WIRE_VERSION:
        raise Undecodable("probe_unreadable", f"version {probe.version}, where this program knows {WIRE_VERSION}")
    return probe
