"""A session is alive until the moment for which it was renewed."""

from __future__ import annotations

import asyncio

from runnel.delivery.session import Session


async def test_it_ends_by_this_workers_clock_and_a_renewal_wakes_waiters() -> None:
    now = 10.0
    session = Session(lambda: now)
    assert not session.alive()
    waiting = asyncio.create_task(session.renewed())
    await asyncio.sleep(0)
    assert not waiting.done()
    session.renew(11.0)
    await waiting
    assert session.alive()
    now = 11.0
    assert not session.alive()


async def test_waiters_can_be_woken_without_a_renewal() -> None:
    session = Session(lambda: 10.0)
    waiting = asyncio.create_task(session.renewed())
    await asyncio.sleep(0)
    session.wake_waiters()
    await waiting
    assert not session.alive()


async def test_it_counts_how_often_it_may_have_ended_before_it_was_renewed() -> None:
    now = 10.0
    session = Session(lambda: now)
    session.renew(11.0)
    before = session.lapses
    now = 10.5
    session.renew(11.5)
    assert session.lapses == before
    now = 11.5
    session.renew(12.5)
    assert session.lapses == before + 1
