from __future__ import annotations

import json

import pytest

from consumers.formats.probes import MAX_PROBE_BYTES, decode_probe, encode_probe
from curatord.errors import Undecodable
from curatord.records import Probe

PROBE = Probe(doc_id="a/ü", cluster=3, policy_version=7, num_tokens=12, text="Ein\x00 Text 中\n", source="web")


def test_a_request_is_json_that_any_program_reads() -> None:
    value = encode_probe(PROBE)
    assert decode_probe(value) == PROBE
    assert json.loads(value)["doc_id"] == "a/ü"


@pytest.mark.parametrize("text", ["\x01" * 3_000_000, "中" * 1_000_000, 'a"' * 600_000])
def test_a_text_that_no_message_holds_is_cut(text: str) -> None:
    value = encode_probe(Probe(doc_id="a", cluster=0, policy_version=0, num_tokens=1, text=text))
    assert MAX_PROBE_BYTES // 4 < len(value) <= MAX_PROBE_BYTES
    assert text.startswith(decode_probe(value).text)


@pytest.mark.parametrize(
    "raw", [None, b"", b"{", b"[1]", b"\xff", b'{"doc_id": 1}', b"[" * 100_000, encode_probe(PROBE)[:-2] + b"9}"]
)
def test_other_bytes_are_refused_with_a_reason(raw: bytes | None) -> None:
    with pytest.raises(Undecodable) as refused:
        decode_probe(raw)
    assert refused.value.reason == "probe_unreadable"
