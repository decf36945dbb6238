"""All trials: what each does to the commands, while events are sent and processed."""

from __future__ import annotations

from runnel.conformance import failures, faults, losses, states
from runnel.conformance.trial import Trials

TRIALS: Trials = {**faults.TRIALS, **losses.TRIALS, **failures.TRIALS, **states.TRIALS}
