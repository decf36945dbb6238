"""Appends while the server is away: they wait for it, up to their delivery timeout."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ConnectionError

from runnel.stream import Sent
from tests.integration import sends
from tests.integration.sends import declare, spread
from tests.servers import Server


@pytest.mark.parametrize("records", [1, 50], ids=["one", "many"])
async def test_sends_succeed_when_the_server_comes_back_in_time(
    server: Server, app_name: str, records: int
) -> None:
    server.kill()
    app, stream = declare(app_name, server.url)
    async with app:
        sending = asyncio.create_task(stream.send(*spread(*range(records))))
        other = asyncio.create_task(stream.send(*spread(99)))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(server.start)
        assert len(await sending) == records
        await other


async def test_when_the_server_stays_away_every_send_fails_after_its_timeout(
    server: Server, app_name: str
) -> None:
    server.kill()
    app, stream = declare(app_name, server.url, delivery_timeout=0.3)

    async def failed(number: int) -> list[Sent | None]:
        with pytest.raises(ConnectionError) as raised:
            await stream.send(sends.Item(key=number % 8, number=number))
        found: list[Sent | None] = vars(raised.value)["sent"]
        return found

    async with app, asyncio.timeout(3):
        assert await asyncio.gather(*map(failed, range(100))) == 100 * [[None]]
        server.start()
        await stream.send(*spread(0))
