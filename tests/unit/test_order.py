"""One send has the turn at a time, in the order of arrival, even if some are cancelled; sends that
wait for room hold up no others."""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from runnel.errors import Full
from runnel.producer.order import SendOrder


class Send:
    """A task that takes the turn, keeps it until `over` is set, and releases it."""

    def __init__(self, order: SendOrder, until: float = inf, drops_oldest: bool = False) -> None:
        self._order = order
        self._options = until, drops_oldest
        self.has_turn = asyncio.Event()
        self.over = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        await self._order.acquire(self, 0.0, *self._options)
        try:
            self.has_turn.set()
            await self.over.wait()
        finally:
            self.has_turn.clear()
            self._order.release(self)


async def begin(order: SendOrder, number: int) -> list[Send]:
    """So many sends: the first has the turn, the others wait."""
    sends = [Send(order) for _ in range(number)]
    await sends[0].has_turn.wait()
    return sends


async def finish(*sends: Send) -> None:
    """Each of them gets the turn, in this order, and ends."""
    for send in sends:
        await send.has_turn.wait()
        send.over.set()
        await send.task


async def test_sends_go_one_after_the_other_in_the_order_of_arrival() -> None:
    order = SendOrder()
    sends = await begin(order, 4)
    for number, send in enumerate(sends):
        await send.has_turn.wait()
        assert [each.has_turn.is_set() for each in sends] == [i == number for i in range(4)]
        await finish(send)
    assert order.holder is None


async def test_a_caller_that_sets_holder_has_the_turn() -> None:
    order = SendOrder()
    order.holder = "somebody"
    send = Send(order)
    await asyncio.sleep(0)
    assert not send.has_turn.is_set()
    order.release("somebody else")
    assert order.holder == "somebody"
    order.release("somebody")
    await finish(send)


async def test_a_cancelled_waiter_is_skipped() -> None:
    order = SendOrder()
    first, second, third = await begin(order, 3)
    second.task.cancel()
    await asyncio.wait([second.task])
    await finish(first, third)
    assert order.holder is None


async def test_a_waiter_that_gets_the_turn_and_is_cancelled_at_once_releases_it() -> None:
    order = SendOrder()
    order.holder = "somebody"
    second, third = Send(order), Send(order)
    await asyncio.sleep(0)
    order.release("somebody")
    second.task.cancel()
    await third.has_turn.wait()
    assert second.task.cancelled()
    await finish(third)
    assert order.holder is None


async def test_a_new_send_does_not_overtake_a_waiter() -> None:
    order = SendOrder()
    first, second = await begin(order, 2)
    await finish(first)
    late = Send(order)
    assert order.holder is second
    await second.has_turn.wait()
    assert not late.has_turn.is_set()
    await finish(second, late)


async def test_each_failed_waiter_gets_a_copy_of_the_error() -> None:
    order = SendOrder()
    holder, patient, *others = await begin(order, 4)
    full = Full("full", {"processor": "work"})
    order.fail_waiters(full, lambda each: each.send in others)
    errors = []
    for send in others:
        with pytest.raises(Full, match="full") as raised:
            await send.task
        assert raised.value.details == {"processor": "work"}
        errors.append(raised.value)
    assert len({id(each) for each in (full, *errors)}) == 3
    await finish(holder, patient)


async def test_droppers_go_first_and_the_holder_comes_before_the_others() -> None:
    order = SendOrder()
    order.holder = "waits for room"
    patient = Send(order)
    dropping, also = Send(order, drops_oldest=True), Send(order, drops_oldest=True)
    await asyncio.sleep(0)
    back = asyncio.create_task(order.let_droppers_pass())
    await finish(dropping, also)
    await back
    assert order.holder == "waits for room"
    await order.let_droppers_pass()  # No dropper waits any more.
    assert order.holder == "waits for room"
    order.release("waits for room")
    await finish(patient)


async def test_a_holder_that_is_cancelled_while_droppers_pass_has_no_turn() -> None:
    order = SendOrder()
    order.holder = "waits for room"
    dropping, patient = Send(order, drops_oldest=True), Send(order)
    await asyncio.sleep(0)
    passing = asyncio.create_task(order.let_droppers_pass())
    await dropping.has_turn.wait()
    passing.cancel()
    await asyncio.wait([passing])
    order.release("waits for room")  # As its caller does in any case.
    assert dropping.has_turn.is_set()
    await finish(dropping, patient)
    assert order.holder is None


async def test_a_new_waiter_and_the_end_of_a_wait_end_a_sleep() -> None:
    order = SendOrder()
    order.holder = "waits for room"
    sleeping = asyncio.create_task(order.sleep(3600))
    await asyncio.sleep(0)
    soon = asyncio.get_running_loop().time() + 0.01
    send = Send(order, until=soon)
    await sleeping
    await order.sleep(3600)
    assert asyncio.get_running_loop().time() >= soon
    order.release("waits for room")
    await finish(send)
