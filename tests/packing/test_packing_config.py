"""The pool's size and the longest wait, where they are not given."""

from __future__ import annotations

import msgspec
import pytest

from packing.packing_config import PackingConfig


@pytest.mark.parametrize(
    ("options", "pool_size"),
    [
        ({"context_length": 1024}, 1000),
        ({"context_length": 4096}, 1638),
        ({"context_length": 32_768}, 13_107),
        ({"context_length": 131_072}, 16_000),
        ({"context_length": 131_072, "mode": "best_fit"}, 1000),
        ({"context_length": 131_072, "pool_documents": 70_000}, 70_000),
    ],
)
def test_the_pool_grows_with_the_rows(options: dict[str, object], pool_size: int) -> None:
    config = msgspec.convert(options, PackingConfig)
    assert config.pool_size == pool_size
    assert config.max_wait == 8 * pool_size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool_documents": 100, "max_wait_arrivals": 150}, "less than twice packing.pool_documents = 100,"),
        ({"max_wait_arrivals": 1999}, r"less than twice packing.pool_documents = 1638 \(for it is unset\)"),
        ({"alpha": 0, "beta": 0}, "nothing tells documents apart"),
        ({"context_length": 100}, "context_length"),
        ({"context_length": 1 << 20, "shuffle_block_rows": 1 << 11}, "than the 2147483648 that a file can hold"),
        ({"mode": "largest_fit"}, "mode"),
        ({"max_cosine": 1.5}, "max_cosine"),
        ({"pool": 100}, "pool"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(options, PackingConfig)
