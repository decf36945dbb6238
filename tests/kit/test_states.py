"""The Python client finds what others have left in Redis."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from runnel.conformance.running import Plan, perform
from runnel.conformance.scene import Commands
from runnel.conformance.states import TRIALS
from tests.kit.python import broken_by_python


@pytest.mark.soak
@pytest.mark.timeout(240)
def test_python_passes(tmp_path: Path) -> None:
    assert broken_by_python(tmp_path, *TRIALS) == []


@pytest.mark.soak
@pytest.mark.timeout(120)
@pytest.mark.parametrize("tries", ["one", "endless"])
def test_another_number_of_tries_of_a_replay_is_caught_and_nobody_is_accused_of_a_loss(
    tmp_path: Path, tries: str
) -> None:
    commands = Commands([sys.executable, "-m", "tests.kit.hasty", tries], None)
    result = asyncio.run(perform(Plan(commands, tmp_path, 1), TRIALS["parked"]))
    found = {each.text: each.rule for each in result.findings}
    tried = "a replayed event that fails is tried 4 times, and then stays parked"
    assert found[tried] == "W21"
    assert not [text for text in found if "LOST" in text]


@pytest.mark.soak
@pytest.mark.timeout(120)
def test_workers_that_end_at_once_do_not_keep_a_trial_from_its_end(tmp_path: Path) -> None:
    """Their producer gives up one record after the other, which is no progress."""
    commands = Commands(["false"], [sys.executable, "-m", "tests.kit.gives_up"])
    result = asyncio.run(perform(Plan(commands, tmp_path, 1, patience=3.0), TRIALS["parked"]))
    given_up, *accused = [each for each in result.findings if "producer-1" in str(each)]
    assert (given_up.text, accused) == ("records were given up without need", [])
    assert [each for each in result.findings if each.text.endswith("ended by itself")]
