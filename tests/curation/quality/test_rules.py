"""The table of quality rules."""

from __future__ import annotations

import pytest

from curation.quality.rules import FILTERS_OF_PRESET, RULE_NAMES, RULES, explain_reason
from kernels.quality import Value
from state.outcomes import REASONS


def test_every_rule_has_a_name_of_its_own_and_a_filter_of_a_preset() -> None:
    assert len(set(RULE_NAMES)) == len(RULES)
    assert not set(RULE_NAMES) & set(REASONS)
    assert {rule.filter for rule in RULES} == {name for names in FILTERS_OF_PRESET.values() for name in names}


def test_every_measured_value_has_a_rule() -> None:
    assert {rule.value for rule in RULES} == {None, *(value.name.lower() for value in Value)}


@pytest.mark.parametrize("reason", [*REASONS, *RULE_NAMES])
def test_every_reason_is_explained(reason: str) -> None:
    assert explain_reason(reason)


def test_a_rule_of_an_earlier_version_is_not_explained() -> None:
    assert explain_reason("gopher_too_few_vowels") == ""
