"""The worker in Python with a fault: it tries a replayed event once, and parks it again."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from runnel.conformance.contract import MEMBER
from runnel.conformance.reference import app
from runnel.core.parking import ParkedRaw
from runnel.worker import runner
from runnel.worker.giving_up import Decision, decide_for
from runnel.worker.worker import Worker


def hasty(processor: Any, batch: Any, *args: Any, **options: Any) -> Decision:
    """Without retries for replays."""
    if isinstance(batch[0], ParkedRaw):
        return Decision.GIVE_UP
    return decide_for(processor, batch, *args, **options)


if __name__ == "__main__":
    vars(runner)["decide_for"] = hasty
    asyncio.run(Worker(app, name=os.environ[MEMBER], signals=True).run())
