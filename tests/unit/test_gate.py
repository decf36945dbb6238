"""One is inside at a time, in the order of asking, whoever is cancelled."""

from __future__ import annotations

import asyncio

from runnel.gate import Gate


class Visit:
    """Somebody who enters, stays until told, and leaves."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.inside = asyncio.Event()
        self.over = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        await self._gate.enter()
        try:
            self.inside.set()
            await self.over.wait()
        finally:
            self.inside.clear()
            self._gate.leave()


async def visits(gate: Gate, number: int) -> list[Visit]:
    """As many, of whom the first is inside and the others wait."""
    made = [Visit(gate) for _ in range(number)]
    await made[0].inside.wait()
    return made


async def test_all_are_let_in_one_after_the_other_in_the_order_of_asking() -> None:
    gate = Gate()
    made = await visits(gate, 4)
    for number, visit in enumerate(made):
        await visit.inside.wait()
        assert [each.inside.is_set() for each in made] == [i == number for i in range(4)]
        visit.over.set()
        await visit.task
    assert not gate.taken


async def test_who_took_it_without_a_step_is_inside() -> None:
    gate = Gate()
    gate.taken = True
    visit = Visit(gate)
    await asyncio.sleep(0)
    assert not visit.inside.is_set()
    gate.leave()
    await visit.inside.wait()
    visit.over.set()
    await visit.task


async def test_whoever_stops_waiting_is_passed_over() -> None:
    gate = Gate()
    first, second, third = await visits(gate, 3)
    second.task.cancel()
    await asyncio.wait([second.task])
    first.over.set()
    await third.inside.wait()
    third.over.set()
    await third.task
    assert not gate.taken


async def test_who_is_let_in_and_cancelled_at_once_lets_the_next_one_in() -> None:
    gate = Gate()
    gate.taken = True
    second, third = Visit(gate), Visit(gate)
    await asyncio.sleep(0)
    gate.leave()
    second.task.cancel()
    await third.inside.wait()
    assert second.task.cancelled()
    third.over.set()
    await third.task
    assert not gate.taken


async def test_nobody_comes_in_between_who_left_and_who_waits() -> None:
    gate = Gate()
    first, second = await visits(gate, 2)
    first.over.set()
    await first.task
    late = Visit(gate)
    assert gate.taken
    await second.inside.wait()
    assert not late.inside.is_set()
    second.over.set()
    await late.inside.wait()
    late.over.set()
    await late.task
