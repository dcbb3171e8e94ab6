"""Feedback of trainers and scorers, from the bytes of a message.

A message holds one record. MessagePack, as `curatord.records.encode_feedback` writes it. JSON, for any program that can
produce a line of it: `{"cluster": 3, "reward": 0.2}`, `{"doc_id": "a", "reward": 0.2, "scorer": "influence",
"checkpoint": 1200}`, `{"end_of_stream": true}` or `{"run_id": "r", "generation": 0, "safe_seq_no": 4096}`; a `Feedback`
in JSON has its arrays in base64. The fields tell the kinds apart: with `safe_seq_no` a `SafePoint`, with
`end_of_stream` an `EndRequest`, with `weights` a `Weights` (`{"weights": {"wiki*": 2}}`), with `run_id` alone a
`Feedback`, else a `Reward`. Fields that are not known are passed over, so that a sender may say more; a version that is
not known is refused, since there the known fields may mean something else.
"""

from __future__ import annotations

from typing import Any

import msgspec

from curatord.errors import Undecodable
from curatord.records import WIRE_VERSION, EndRequest, Feedback, Reward, SafePoint, Weights

MAX_FEEDBACK_BYTES = 16 << 20  # 1.6 million segments; topics allow 1 MB unless told otherwise

FEEDBACK_REASONS = {
    "feedback_empty": "The message has no value.",
    "feedback_too_large": f"The message is larger than {MAX_FEEDBACK_BYTES:,} bytes; report fewer sequences at once.",
    "feedback_unreadable": "The message is neither a MessagePack nor a JSON object.",
    "feedback_newer": "The record has a version that this program does not know; upgrade curatord before its senders.",
    "feedback_bad_field": "A field of the record is missing, of a wrong type, or contradicts another.",
}

_BOM = b"\xef\xbb\xbf"


FeedbackRecord = Feedback | Reward | Weights | SafePoint | EndRequest


class _Head(msgspec.Struct):
    """The fields that tell the records apart, and the version."""

    version: int = WIRE_VERSION
    safe_seq_no: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    end_of_stream: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    weights: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    run_id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def kind(self) -> type[FeedbackRecord]:
        """The record that has these fields."""
        if self.safe_seq_no is not msgspec.UNSET:
            return SafePoint
        if self.end_of_stream is not msgspec.UNSET:
            return EndRequest
        if self.weights is not msgspec.UNSET:
            return Weights
        return Reward if self.run_id is msgspec.UNSET else Feedback


_KINDS = (_Head, Feedback, Reward, Weights, SafePoint, EndRequest)
_JSON: dict[type, Any] = {kind: msgspec.json.Decoder(kind) for kind in _KINDS}
_MSGPACK: dict[type, Any] = {kind: msgspec.msgpack.Decoder(kind) for kind in _KINDS}


def decode_feedback(raw: bytes | None) -> FeedbackRecord:
    """The record in the value of one message. Raises Undecodable, and nothing else, for any bytes.

    >>> decode_feedback(b'{"cluster": 3, "reward": 0.25}')
    Reward(reward=0.25, cluster=3, doc_id=None, scorer='', checkpoint=None, version=1)
    """
    if not raw:
        raise Undecodable("feedback_empty", "no value, where a record was expected")
    if len(raw) > MAX_FEEDBACK_BYTES:
        raise Undecodable("feedback_too_large", f"{len(raw):,} bytes, where {MAX_FEEDBACK_BYTES:,} are allowed")
    text = raw.removeprefix(_BOM).lstrip(b" \t\r\n")
    # No MessagePack object begins like a JSON one: "{" is the number 123 there.
    is_json = text.startswith(b"{")
    decoders = _JSON if is_json else _MSGPACK
    body = text if is_json else raw
    head: _Head = _decode(decoders[_Head], body)
    if head.version != WIRE_VERSION:
        raise Undecodable(
            "feedback_newer" if head.version > WIRE_VERSION else "feedback_bad_field",
            f"version {head.version}, where this program knows version {WIRE_VERSION}",
        )
    record: FeedbackRecord = _decode(decoders[head.kind], body)
    return record


def _decode(decoder: Any, body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        text = str(error)
        is_object = not text.startswith("Expected `object`") or "- at" in text
        raise Undecodable("feedback_bad_field" if is_object else "feedback_unreadable", text) from None
    except (ValueError, RecursionError) as error:  # a DecodeError is a ValueError, so is bad UTF-8
        raise Undecodable("feedback_unreadable", f"{error}; it begins with {body[:16]!r}") from None
