"""The wire records: what they refuse, and that they survive the wire."""

from __future__ import annotations

import struct
import subprocess
import sys

import msgspec
import pytest

from curatord.records import DeadLetter, Document, Feedback, Retraction, Reward, Weights


def _feedback(num_segments: list[int], losses: list[float], targets: list[int]) -> Feedback:
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
        sum_nll=struct.pack(f"<{len(losses)}f", *losses),
        num_targets=struct.pack(f"<{len(targets)}I", *targets),
    )


@pytest.mark.parametrize(
    "record",
    [
        Document(id="a", text="b\x00", url="u", source="s", language="de", timestamp_us=5, metadata={"k": [1, None]}),
        Document(id=None, text=""),
        Retraction(id="a", timestamp_us=3),
        _feedback([2, 1], [1.5, 2.5, 0.25], [10, 20, 30]),
        Reward(reward=0.5, cluster=3),
        Reward(reward=-1.0, doc_id="a"),
        Reward(reward=0.1, doc_id="a", scorer="influence", checkpoint=1200),
        DeadLetter(
            reason="not_json", message="m", source="s", position=1, index=0, original=b"\xff\x00", truncated=False
        ),
    ],
    ids=lambda record: type(record).__name__,
)
def test_every_record_survives_msgpack_and_json(record: msgspec.Struct) -> None:
    for codec in (msgspec.msgpack, msgspec.json):
        assert codec.decode(codec.encode(record), type=type(record)) == record


def test_feedback_costs_at_most_ten_bytes_a_segment() -> None:
    segments = 5 * 1024
    size = len(msgspec.msgpack.encode(_feedback([5] * 1024, [1.0] * segments, [800] * segments)))
    assert size <= 10 * segments


@pytest.mark.parametrize(("losses", "targets"), [([1.0], [1, 2]), ([1.0, 2.0], [1]), ([1.0, 2.0, 3.0], [1, 2, 3])])
def test_feedback_whose_arrays_contradict_each_other_is_refused(losses: list[float], targets: list[int]) -> None:
    with pytest.raises(ValueError, match="2 segments"):
        _feedback([1, 1], losses, targets)


def test_a_reward_names_exactly_one_target_and_is_finite() -> None:
    for fields in ({}, {"cluster": 1, "doc_id": "a"}):
        with pytest.raises(ValueError, match="either"):
            Reward(reward=1.0, **fields)
    with pytest.raises(ValueError, match="finite"):
        Reward(reward=float("nan"), cluster=1)
    with pytest.raises(ValueError, match="64 bytes"):
        Reward(reward=1.0, cluster=1, scorer="é" * 33)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("run_id", ""),
        ("run_id", "é" * 129),
        ("step", -1),
        ("step", 1 << 60),
        ("rank", 4),
        ("world", 0),
        ("generation", -1),
        ("stride", 0),
        ("first_seq_no", 1 << 62),
    ],
)
def test_feedback_with_a_number_out_of_its_range_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        msgspec.structs.replace(_feedback([1], [1.0], [1]), **{field: value})


@pytest.mark.parametrize(
    "fields",
    [{"reward": 1e13, "cluster": 1}, {"reward": 1.0, "cluster": -1}, {"reward": 1.0, "cluster": 1, "checkpoint": -1}],
)
def test_a_reward_out_of_its_range_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="between"):
        Reward(**fields)


def test_importing_the_package_loads_only_what_a_trainer_has() -> None:
    code = "import sys; before = set(sys.modules); import curatord; print(*(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    foreign = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert foreign <= {"curatord", "numpy", "msgspec", "typing_extensions", "crc32c"}


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf"), 1e13])
def test_a_weight_out_of_its_range_is_refused_by_name(weight: float) -> None:
    with pytest.raises(ValueError, match="wiki"):
        Weights(weights={"news": 1.0, "wiki": weight})
