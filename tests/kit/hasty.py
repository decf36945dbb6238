"""The worker in Python with a fault: it tries a replayed event once, and parks it again; or, with
the argument ``endless``, without end."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from runnel.conformance.contract import MEMBER
from runnel.conformance.reference import app
from runnel.core.parking import ParkedRaw
from runnel.worker import runner
from runnel.worker.giving_up import Decision, decide_for
from runnel.worker.worker import Worker

_DECISION = Decision.RETRY if sys.argv[1:] == ["endless"] else Decision.GIVE_UP


def of_replays(processor: Any, batch: Any, *args: Any, **options: Any) -> Decision:
    """Another decision for replays."""
    if isinstance(batch[0], ParkedRaw):
        return _DECISION
    return decide_for(processor, batch, *args, **options)


if __name__ == "__main__":
    vars(runner)["decide_for"] = of_replays
    asyncio.run(Worker(app, name=os.environ[MEMBER], signals=True).run())
