"""The numbered rules, and the numbers that the kit names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import runnel.conformance
from runnel.conformance.rules import rules
from runnel.conformance.trials import TRIALS

SOURCES = Path(runnel.conformance.__file__).parent.glob("*.py")
NAMED = {number for path in SOURCES for number in re.findall(r'"([CPW]\d+)"', path.read_text())} | {
    each.rule for each in TRIALS.values()
}


@pytest.mark.parametrize("letter", "CPW")
def test_rules_are_numbered_without_gaps(letter: str) -> None:
    numbers = [int(each[1:]) for each in rules() if each[0] == letter]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_rule_is_one_line_of_its_own_text() -> None:
    assert rules()["C4"].startswith("NOSCRIPT means that nothing ran.")
    assert rules()["W26"].endswith("also if the time limit was over).")
    assert not [each for each in rules().values() if "\n" in each or "**W" in each]


def test_every_rule_that_the_kit_names_exists() -> None:
    assert len(NAMED) > 25
    assert rules().keys() >= NAMED
