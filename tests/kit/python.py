"""The Python client under the kit."""

from __future__ import annotations

import asyncio
from pathlib import Path

from runnel.conformance.running import Plan, run
from runnel.conformance.scene import PYTHON, Commands
from runnel.conformance.trials import TRIALS


def broken_by_python(folder: Path, *names: str) -> list[str]:
    """The rules that its worker or its producer breaks in these trials, with what was seen."""
    commands = Commands([*PYTHON, "worker"], [*PYTHON, "producer"])
    plan = Plan(commands, folder, 1, jobs=len(names))
    results = asyncio.run(run(plan, [TRIALS[each] for each in names], lambda result: None))
    found = [f"{each.trial.name}: {finding}" for each in results for finding in each.findings]
    return found + [f"{each.trial.name}: no events" for each in results if not each.events]
