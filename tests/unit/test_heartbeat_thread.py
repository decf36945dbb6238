"""A thread sends heartbeats while the event loop is blocked."""

from __future__ import annotations

import asyncio
import inspect
import re
import threading

import pytest
from redis.exceptions import ConnectionError

from runnel.errors import Replaced
from runnel.worker.heartbeat_thread import HeartbeatThread


class Blocked:
    """A group whose event loop is blocked, and whose heartbeats fail in this way."""

    session_seconds = 0.06
    silent = 1.0

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls = 0
        self.again = threading.Event()

    def blocked_for(self) -> float:
        return self.silent

    def beat(self) -> None:
        self.calls += 1
        if self.calls > 1:
            self.again.set()
        raise self.error


@pytest.mark.parametrize("error", [ConnectionError("lost"), Replaced("REPLACED member=a")])
def test_a_heartbeat_that_fails_does_not_end_it(error: Exception) -> None:
    group = Blocked(error)
    heartbeat_thread = HeartbeatThread(group, max_block=60.0)
    heartbeat_thread.start()
    assert group.again.wait(10)
    assert heartbeat_thread.is_alive()
    heartbeat_thread.stop()
    heartbeat_thread.join(10)


async def test_a_loop_that_runs_and_waits_for_redis_is_not_called_blocked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    group = Blocked(ConnectionError("lost"))
    group.session_seconds, group.silent = 60.0, 100.0
    heartbeat_thread = HeartbeatThread(group, 60.0, asyncio.get_running_loop())
    await asyncio.to_thread(heartbeat_thread.check)
    assert not caplog.records
    group.session_seconds = 0.06
    heartbeat_thread.check()  # In the loop's own thread: now nothing else runs there.
    assert "the event loop has been blocked for 100 s" in caplog.text


def test_it_takes_no_name_of_a_thread() -> None:
    """Also none that only newer versions of Python use: 3.14 runs a thread in its `_context`."""
    plain = threading.Thread()
    own = set(vars(HeartbeatThread(Blocked(OSError()), 60.0))) - set(vars(plain))
    source = inspect.getsource(HeartbeatThread)
    assigned = set(re.findall(r"self\.(\w+)(?:: [^=]+)? = ", source))
    assert own <= assigned
    taken = {*dir(threading.Thread), *vars(plain), "_context", "_handle", "_os_thread_handle"}
    assert not assigned & taken
