"""Feedback from bytes: what is read, what is refused and why, and that nothing else can happen."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.formats.feedback import FEEDBACK_REASONS, MAX_FEEDBACK_BYTES, FeedbackRecord, decode_feedback
from curatord.errors import Undecodable
from curatord.records import EndRequest, Feedback, Reward, SafePoint, Weights, encode_feedback


def feedback(num_segments: list[int]) -> Feedback:
    segments = sum(num_segments)
    return Feedback(
        run_id="run",
        step=7,
        rank=1,
        world=4,
        policy_version_min=2,
        policy_version_max=3,
        generation=0,
        first_seq_no=100,
        stride=4,
        num_segments=struct.pack(f"<{len(num_segments)}H", *num_segments),
        sum_nll=struct.pack(f"<{segments}f", *range(segments)),
        num_targets=struct.pack(f"<{segments}I", *range(segments)),
    )


def refused(raw: bytes | None) -> Undecodable:
    with pytest.raises(Undecodable) as caught:
        decode_feedback(raw)
    assert caught.value.reason in FEEDBACK_REASONS
    assert str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "record",
    [
        feedback([2, 0, 3]),
        feedback([]),
        Reward(reward=-0.5, cluster=0),
        Reward(reward=2.0, doc_id="a", scorer="influence", checkpoint=1200),
        Weights(weights={"wiki*": 2.0, "cluster:3": 0.5}),
        Weights(weights={}),
        SafePoint(run_id="run", generation=0, safe_seq_no=4096),
        SafePoint(run_id="run", generation=3, safe_seq_no=-1),
        EndRequest(end_of_stream=True),
    ],
)
def test_what_a_trainer_sends_is_read_in_either_encoding(record: FeedbackRecord) -> None:
    assert decode_feedback(encode_feedback(record)) == record
    assert decode_feedback(msgspec.json.encode(record)) == record


@pytest.mark.parametrize(
    ("raw", "reward"),
    [
        (b'{"cluster": 3, "reward": 0.2}', Reward(reward=0.2, cluster=3)),
        (b' \n{"doc_id": "a", "reward": 1}', Reward(reward=1.0, doc_id="a")),
        (
            b'\xef\xbb\xbf{"reward": -2.5, "cluster": 0, "model_version": "m", "why": [1]}',
            Reward(reward=-2.5, cluster=0),
        ),
        (msgspec.msgpack.encode({"cluster": 3, "reward": 1}), Reward(reward=1.0, cluster=3)),
    ],
)
def test_a_plain_object_is_a_reward(raw: bytes, reward: Reward) -> None:
    assert decode_feedback(raw) == reward


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "feedback_empty"),
        (b"", "feedback_empty"),
        (b"hello", "feedback_unreadable"),
        (b"{", "feedback_unreadable"),
        (b'{"cluster": 3, "reward": 0.2} and more', "feedback_unreadable"),
        (b'[{"cluster": 3, "reward": 0.2}]', "feedback_unreadable"),
        (b"\x93\x01\x02\x03", "feedback_unreadable"),
        (b"\xff\xfe\x00", "feedback_unreadable"),
        (b'{"cluster": 3, "reward": 0.2, "x": ' + b"[" * 100_000, "feedback_unreadable"),
        (b"{}", "feedback_bad_field"),
        (b'{"cluster": 3}', "feedback_bad_field"),
        (b'{"reward": 1}', "feedback_bad_field"),
        (b'{"reward": 1, "cluster": 1, "doc_id": "a"}', "feedback_bad_field"),
        (b'{"reward": "1", "cluster": 1}', "feedback_bad_field"),
        (b'{"reward": 1, "cluster": 1.5}', "feedback_bad_field"),
        (b'{"reward": 1, "cluster": -1}', "feedback_bad_field"),
        (b'{"reward": 1e300, "cluster": 1}', "feedback_bad_field"),
        (b'{"reward": 1, "cluster": 1, "version": 0}', "feedback_bad_field"),
        (b'{"run_id": "r"}', "feedback_bad_field"),
        (msgspec.msgpack.encode({"cluster": 3, "reward": float("nan")}), "feedback_bad_field"),
        (b'{"safe_seq_no": 5}', "feedback_bad_field"),
        (b'{"run_id": "r", "generation": 0, "safe_seq_no": -2}', "feedback_bad_field"),
        (b'{"run_id": "", "generation": 0, "safe_seq_no": 1}', "feedback_bad_field"),
        (b'{"run_id": "r", "generation": -1, "safe_seq_no": 1}', "feedback_bad_field"),
        (b'{"run_id": "r", "generation": 0, "safe_seq_no": null}', "feedback_bad_field"),
        (b'{"end_of_stream": false}', "feedback_bad_field"),
        (b'{"end_of_stream": 1}', "feedback_bad_field"),
        (b'{"end_of_stream": true, "version": 2}', "feedback_newer"),
        (b'{"reward": 1, "cluster": 1, "version": 2}', "feedback_newer"),
        (msgspec.msgpack.encode({"run_id": {"an": "object"}, "version": 9}), "feedback_newer"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(raw: bytes | None, reason: str) -> None:
    assert refused(raw).reason == reason


def test_fields_tell_records_apart_and_a_safe_point_never_ends_the_stream() -> None:
    fields = {"run_id": "r", "generation": 1, "safe_seq_no": 2, "end_of_stream": True, "reward": 1, "cluster": 0}
    for encode in (msgspec.json.encode, msgspec.msgpack.encode):
        assert decode_feedback(encode(fields)) == SafePoint(run_id="r", generation=1, safe_seq_no=2)
        del fields["safe_seq_no"]
        assert decode_feedback(encode(fields)) == EndRequest(end_of_stream=True)
        fields["safe_seq_no"] = 2


def test_a_message_beyond_the_limit_is_not_looked_at() -> None:
    assert refused(b"{" * (MAX_FEEDBACK_BYTES + 1)).reason == "feedback_too_large"


def ends_well(raw: bytes) -> bool:
    try:
        record = decode_feedback(raw)
    except Undecodable as error:
        return error.reason in FEEDBACK_REASONS and bool(str(error).encode())
    return decode_feedback(encode_feedback(record)) == record


@given(st.binary())
def test_any_bytes_are_a_record_or_are_refused(raw: bytes) -> None:
    assert ends_well(raw)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
records = (Feedback, Reward, SafePoint, EndRequest)
names = st.sampled_from([*(name for record in records for name in record.__struct_fields__), "other"])


@given(st.dictionaries(names, values))
def test_any_object_is_a_record_or_is_refused(fields: dict[str, object]) -> None:
    assert ends_well(msgspec.msgpack.encode(fields))
    assert ends_well(msgspec.json.encode(fields))


@given(st.dictionaries(st.sampled_from(Feedback.__struct_fields__), values, max_size=2), st.binary(max_size=6))
def test_a_report_with_a_few_wrong_fields_is_a_record_or_is_refused(fields: dict[str, object], tail: bytes) -> None:
    spoiled = {**msgspec.structs.asdict(feedback([1, 2])), **fields}
    assert ends_well(msgspec.msgpack.encode(spoiled))
    assert ends_well(encode_feedback(feedback([1, 2]))[: -len(tail) or None] + tail)
