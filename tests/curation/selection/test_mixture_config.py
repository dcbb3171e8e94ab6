from __future__ import annotations

import pytest

from curation.selection.mixture_config import MixtureConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "doremi", "rho": 0.5}, "mixture.losses"),
        ({"rule": "ado"}, "every document goes out once"),
        ({"later": {"soon": {"a": 1.0}}, "weights": {"a": 1.0}, "rho": 0.5}, "number of emitted tokens"),
        ({"later": {"5": {"b": 1.0}}, "weights": {"a": 1.0}, "rho": 0.5}, "'b' is no source"),
        ({"weights": {"cluster:x": 1.0}, "rho": 0.5}, "cluster:7"),
    ],
)
def test_options_that_can_do_nothing_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MixtureConfig(**options)
