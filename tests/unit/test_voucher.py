"""A thread that heartbeats in place of a blocked event loop."""

from __future__ import annotations

import threading

import pytest
from redis.exceptions import ConnectionError

from runnel.errors import Replaced
from runnel.worker.heartbeat_thread import Voucher


class Blocked:
    """A group whose event loop is blocked, and whose heartbeats fail in this way."""

    session = 0.06

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls = 0
        self.again = threading.Event()

    def silence(self) -> float:
        return 1.0

    def vouch(self) -> None:
        self.calls += 1
        if self.calls > 1:
            self.again.set()
        raise self.error


@pytest.mark.parametrize("error", [ConnectionError("lost"), Replaced("REPLACED member=a")])
def test_a_heartbeat_that_fails_does_not_end_it(error: Exception) -> None:
    group = Blocked(error)
    voucher = Voucher(group, max_block=60.0)
    voucher.start()
    assert group.again.wait(10)
    assert voucher.is_alive()
    voucher.stop()
    voucher.join(10)
