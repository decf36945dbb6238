"""One is inside at a time, in the order of asking, whoever is cancelled; nobody who waits for room
holds up anybody who does not."""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from runnel.errors import Full
from runnel.producer.order import SendOrder


class Visit:
    """Somebody who enters, stays until told, and leaves."""

    def __init__(self, gate: SendOrder, until: float = inf, drops: bool = False) -> None:
        self._gate = gate
        self._asked = until, drops
        self.inside = asyncio.Event()
        self.over = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        await self._gate.enter(self, 0.0, *self._asked)
        try:
            self.inside.set()
            await self.over.wait()
        finally:
            self.inside.clear()
            self._gate.leave(self)


async def visits(gate: SendOrder, number: int) -> list[Visit]:
    """As many, of whom the first is inside and the others wait."""
    made = [Visit(gate) for _ in range(number)]
    await made[0].inside.wait()
    return made


async def over(*visits: Visit) -> None:
    """Each of them comes in, and leaves."""
    for visit in visits:
        await visit.inside.wait()
        visit.over.set()
        await visit.task


async def test_all_are_let_in_one_after_the_other_in_the_order_of_asking() -> None:
    gate = SendOrder()
    made = await visits(gate, 4)
    for number, visit in enumerate(made):
        await visit.inside.wait()
        assert [each.inside.is_set() for each in made] == [i == number for i in range(4)]
        await over(visit)
    assert gate.inside is None


async def test_who_took_it_without_a_step_is_inside() -> None:
    gate = SendOrder()
    gate.inside = "somebody"
    visit = Visit(gate)
    await asyncio.sleep(0)
    assert not visit.inside.is_set()
    gate.leave("somebody else")
    assert gate.inside == "somebody"
    gate.leave("somebody")
    await over(visit)


async def test_whoever_stops_waiting_is_passed_over() -> None:
    gate = SendOrder()
    first, second, third = await visits(gate, 3)
    second.task.cancel()
    await asyncio.wait([second.task])
    await over(first, third)
    assert gate.inside is None


async def test_who_is_let_in_and_cancelled_at_once_lets_the_next_one_in() -> None:
    gate = SendOrder()
    gate.inside = "somebody"
    second, third = Visit(gate), Visit(gate)
    await asyncio.sleep(0)
    gate.leave("somebody")
    second.task.cancel()
    await third.inside.wait()
    assert second.task.cancelled()
    await over(third)
    assert gate.inside is None


async def test_nobody_comes_in_between_who_left_and_who_waits() -> None:
    gate = SendOrder()
    first, second = await visits(gate, 2)
    await over(first)
    late = Visit(gate)
    assert gate.inside is second
    await second.inside.wait()
    assert not late.inside.is_set()
    await over(second, late)


async def test_those_who_are_turned_away_are_told_each_by_an_error_of_their_own() -> None:
    gate = SendOrder()
    inside, patient, *others = await visits(gate, 4)
    told = Full("full", {"processor": "work"})
    gate.turn_away(told, lambda each: each.what in others)
    errors = []
    for visit in others:
        with pytest.raises(Full, match="full") as raised:
            await visit.task
        assert raised.value.details == {"processor": "work"}
        errors.append(raised.value)
    assert len({id(each) for each in (told, *errors)}) == 3
    await over(inside, patient)


async def test_who_steps_aside_lets_in_those_who_make_room_and_comes_before_the_others() -> None:
    gate = SendOrder()
    gate.inside = "waits for room"
    patient, dropping, also = Visit(gate), Visit(gate, drops=True), Visit(gate, drops=True)
    await asyncio.sleep(0)
    back = asyncio.create_task(gate.step_aside())
    await over(dropping, also)
    await back
    assert gate.inside == "waits for room"
    await gate.step_aside()  # Nobody is there any more for whom to.
    assert gate.inside == "waits for room"
    gate.leave("waits for room")
    await over(patient)


async def test_who_is_cancelled_while_aside_is_not_inside() -> None:
    gate = SendOrder()
    gate.inside = "waits for room"
    dropping, patient = Visit(gate, drops=True), Visit(gate)
    await asyncio.sleep(0)
    aside = asyncio.create_task(gate.step_aside())
    await dropping.inside.wait()
    aside.cancel()
    await asyncio.wait([aside])
    gate.leave("waits for room")  # As its caller does in any case.
    assert dropping.inside.is_set()
    await over(dropping, patient)
    assert gate.inside is None


async def test_who_rests_is_stirred_by_somebody_who_comes_and_by_a_wait_that_ends() -> None:
    gate = SendOrder()
    gate.inside = "waits for room"
    resting = asyncio.create_task(gate.rest(3600))
    await asyncio.sleep(0)
    soon = asyncio.get_running_loop().time() + 0.01
    visit = Visit(gate, until=soon)
    await resting
    await gate.rest(3600)
    assert asyncio.get_running_loop().time() >= soon
    gate.leave("waits for room")
    await over(visit)
