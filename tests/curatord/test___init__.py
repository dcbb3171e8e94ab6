"""The names that trainers import."""

from __future__ import annotations

import pytest

import curatord
import curatord.prepared
import curatord.sequence
import curatord.stream


def test_every_name_is_the_one_of_its_module() -> None:
    modules = {"PackedSequence": curatord.sequence, "PackedStream": curatord.stream, "prepare": curatord.prepared}
    for name in curatord.__all__:
        assert getattr(curatord, name) is getattr(modules[name], name)


def test_a_name_that_is_not_there_is_told_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'curatord' has no attribute 'PackedSequences'"):
        curatord.PackedSequences  # noqa: B018
