"""A child process that a handler starts with a fork ends on a signal as any program does."""

from __future__ import annotations

import signal
from collections.abc import Callable

from tests.worker.stubborn_worker import Stubborn


async def test_a_child_process_of_user_code_ends_on_a_signal(
    start: Callable[..., Stubborn],
) -> None:
    worker = start("fork")
    await worker.send()
    await worker.begun()
    assert f"the child ended with {-signal.SIGTERM}" in worker.said
    assert "stopping" not in worker.said, "the signal was not meant for the worker"
    worker.process.send_signal(signal.SIGTERM)
    assert worker.ended() == 0
