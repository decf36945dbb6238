"""A machine that stands still."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.exceptions import ConnectionError, TimeoutError

from runnel.conformance.history import History
from runnel.conformance.stalls import Stalls


async def test_a_process_that_does_not_run() -> None:
    history = History()
    stalls = Stalls(history, 0.2)
    watching = asyncio.create_task(stalls.watch())
    await asyncio.sleep(0)
    time.sleep(0.5)  # noqa: ASYNC251 -- that is what it is to notice
    await asyncio.sleep(0.1)  # It has waited for less.
    watching.cancel()
    assert stalls.found[0].startswith("the kit itself did not run for 0.")
    assert history.notes[0].text == f"stall: {stalls.found[0]}"


def test_calls_that_take_long() -> None:
    stalls = Stalls(History(), 0.0)
    with stalls.call("PING"):
        pass
    with pytest.raises(TimeoutError), stalls.call("XLEN"):
        raise TimeoutError
    with pytest.raises(ConnectionError), stalls.call("a call whose connection is cut"):
        raise ConnectionError
    assert stalls.found == [
        f"the server did not answer {name} for 0.0 s" for name in ("PING", "XLEN")
    ]
    stalls = Stalls(History(), 9.0)
    with stalls.call("PING"):
        pass
    assert stalls.found == []
