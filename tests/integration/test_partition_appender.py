"""Appends while the server is away: they wait for it, up to their delivery timeout."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ConnectionError

from runnel.connection.connect import connect
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
    app, stream = declare(app_name, server.url, delivery_timeout=1.0)

    async def failed(number: int) -> list[Sent | None]:
        with pytest.raises(ConnectionError) as raised:
            await stream.send(sends.Item(key=number % 8, number=number))
        found: list[Sent | None] = vars(raised.value)["sent"]
        return found

    async with app, asyncio.timeout(30):  # One after the other, they would need 100 s.
        assert await asyncio.gather(*map(failed, range(100))) == 100 * [[None]]
        server.start()
        await stream.send(*spread(0))


async def test_numbers_and_natural_keys_survive_a_server_that_is_killed(
    server: Server, app_name: str
) -> None:
    app, stream = declare(app_name, server.url)
    async with app:
        producer = app.producer(id="import")
        await producer.send(stream, *spread(0), number=0)
        (first,) = await stream.send(*spread(100), dedupe="first")
        server.kill()
        waiting = [
            asyncio.create_task(producer.send(stream, *spread(number), number=number))
            for number in range(1, 20)
        ]
        keyed = asyncio.create_task(stream.send(*spread(101), dedupe="second"))
        await asyncio.to_thread(server.start)
        assert None not in [each for send in waiting for each in await send]
        (second,) = await keyed
        assert await stream.send(*spread(100), dedupe="first") == [first]
        assert await stream.send(*spread(101), dedupe="second") == [second]
        again = app.producer(id="import")
        for number in range(20):
            assert await again.send(stream, *spread(number), number=number) == [None]
        async with connect(server.url) as client:
            numbers = [*range(20), 100, 101]
            assert await sends.stored(client, stream) == {each: [each] for each in numbers}
