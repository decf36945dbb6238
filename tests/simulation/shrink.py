"""Finds a few faults that are enough for a violation."""

from __future__ import annotations

from tests.simulation.run import run
from tests.simulation.scenario import Scenario
from tests.simulation.store import Store


def shrink(scenario: Scenario, store: Store) -> Scenario:
    """The scenario with as many of its faults left out as the same violation allows.

    Larger and smaller pieces are left out in turn, until no single fault can be spared.
    """
    violation = run(scenario, store).violation
    if violation is None:
        return scenario
    size = max(1, len(scenario.faults) // 2)
    while scenario.faults:
        spared = False
        for start in range(0, len(scenario.faults), size):
            smaller = scenario.without(set(range(start, start + size)))
            found = run(smaller, store).violation
            if found is not None and found.invariant == violation.invariant:
                scenario, spared = smaller, True
                break
        if not spared:
            if size == 1:
                break
            size = max(1, size // 2)
    return scenario
