"""The bugs that are planted, one at a time: `scripts/simulate --planted` finds each.

This package imports nothing of Runnel, for it must come before.
"""

from __future__ import annotations

from tests.simulation.bugs import commits, emits, handlers, leases, logs

BUGS = (*leases.BUGS, *commits.BUGS, *emits.BUGS, *handlers.BUGS, *logs.BUGS)
BY_NAME = {bug.name: bug for bug in BUGS}
