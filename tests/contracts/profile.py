"""How long the machines of this folder search.

``RUNNEL_TEST_PROFILE=ci`` (the default) takes seconds and draws the same calls on every run, so
that a red run can be repeated by anybody. ``RUNNEL_TEST_PROFILE=long`` draws new ones each time,
for an hour at a desk. Whatever is found is printed as the fewest steps that lead there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, cast

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

_COMMON = settings(
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
_PROFILES = {
    "ci": settings(_COMMON, max_examples=120, stateful_step_count=40, derandomize=True),
    "long": settings(_COMMON, max_examples=5_000, stateful_step_count=80),
}
PROFILE = os.environ.get("RUNNEL_TEST_PROFILE", "ci")
if PROFILE not in _PROFILES:
    raise ValueError(f"RUNNEL_TEST_PROFILE={PROFILE}: choose one of {', '.join(_PROFILES)}")

#: For a machine: so many runs of so many steps.
MACHINE = _PROFILES[PROFILE]
#: For single calls with drawn arguments, of which there can be more.
CALLS = settings(MACHINE, max_examples=MACHINE.max_examples * 2)
#: Seconds for one test, to shrink what it has found included; 0 is for ever.
TIMEOUT = {"ci": 600, "long": 0}[PROFILE]


def search(make: Callable[[], RuleBasedStateMachine]) -> None:
    """Run the machine as the profile says."""
    run_state_machine_as_test(cast("Any", make), settings=MACHINE)
