"""Which events an operator skips, what becomes of them, and who holds the partition then."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, DeadLetter, DeadLetterMiddleware, Record, keys, protocol
from runnel.connection.durability import AckRequirement
from runnel.errors import ConfigError
from runnel.operations import admin, dead
from runnel.operations.skipping import skip
from runnel.processor import Processor
from runnel.protocol import CheckpointMove, Token
from runnel.protocol.scripts import Call, Scripts

NONCE = "n" * 32


class Order(Record):
    id: int


async def bill(order: Order) -> None:
    """A handler."""


class Shop:
    """A processor with one retry, on a stream of one partition with two events."""

    def __init__(self, redis: Redis, url: str, name: str) -> None:
        self.redis = redis
        self.app = App(name, redis_url=url)
        self.orders = self.app.stream("orders", record=Order, partition_by="id", partition_count=1)
        self.app.on(self.orders, retries=1, middleware=[DeadLetterMiddleware()])(bill)
        self.scripts = Scripts(redis)
        self.processor: Processor = self.app.processors["bill"]
        self.keys = self.processor.keys(0)
        self.token = Token(0, NONCE)
        self.ids: list[str] = []

    async def fail(self, kind: str, tries: int, error: str = "ValueError", event: int = 0) -> None:
        """Send two events, and fail on one of them as the worker ``w1`` would."""
        async with self.app:
            sent = await self.orders.send(Order(id=1), Order(id=2), headers={"a": "b"})
        self.ids = [each.id for each in sent]
        await admin.add(self.scripts, self.processor)
        await self.redis.hset(keys.plan(self.processor.group), "p:0", "w1 w1 1 0")
        call = protocol.claim(self.keys, self.processor.stream.contract, "w1", 1, NONCE)
        self.token = Token(protocol.read_claim(await self.scripts.call(call)).epoch, NONCE)
        failed = self.ids[event]
        why, where = (error, "why"), "line 1\nline 2"
        attempt = protocol.attempt(self.keys, self.token, kind, failed, tries, why, where)
        await self.scripts.call(attempt)

    async def described(self) -> Any:
        reply = await self.scripts.call(protocol.describe(self.keys))
        return protocol.read_describe(reply)

    async def traceback(self) -> str:
        """That of the only dead letter."""
        (item,) = [each async for each in dead.find(self.scripts, self.processor, dead.Wanted())]
        return item.traceback

    async def dead_letters(self) -> list[DeadLetter]:
        sink = self.processor.sink
        assert sink is not None
        found: Any = await self.redis.xrange(keys.log(sink.prefix(0)))
        return [
            sink.codec.decode([each for pair in fields.items() for each in pair])
            for _, fields in found
        ]

    async def owner(self) -> str:
        """The owner in the group's plan; a dash for a partition that may be claimed again."""
        record: Any = await self.redis.hget(keys.plan(self.processor.group), "p:0")
        return str(record.decode().split()[0])


@pytest.fixture
async def shop(redis: Redis, redis_url: str, app_name: str) -> Shop:
    return Shop(redis, redis_url, app_name)


@pytest.mark.parametrize(
    ("kind", "tries", "error", "named"),
    [
        ("quarantine", 1, "ValueError", False),
        ("failure", 2, "ValueError", False),
        ("failure", 1, "ValueError", True),
        ("failure", 1, "DecodeError", False),
        ("failure", 1, "WorkerDied", False),
    ],
    ids=["quarantined", "halted", "retried but named", "not decoded", "deaths of workers"],
)
async def test_a_failed_event_becomes_a_dead_letter_and_the_next_one_may_be_claimed(
    shop: Shop, kind: str, tries: int, error: str, named: bool
) -> None:
    await shop.fail(kind, tries, error)
    assert await skip(shop.scripts, shop.processor, 0, named) == (shop.ids[0], "")
    (letter,) = await shop.dead_letters()
    assert (letter.stream, letter.processor, letter.partition) == ("orders", "bill", 0)
    assert (letter.event, letter.attempts) == (shop.ids[0], tries)
    assert (letter.error_type, letter.error_message) == (error, "why")
    assert await shop.traceback() == "line 1\nline 2"
    assert letter.fields == shop.orders.spec.encode(Order(id=1), {"a": "b"})
    described = await shop.described()
    assert (described.checkpoint, described.next_id) == (shop.ids[0], shop.ids[1])
    assert await shop.owner() == "-"


@pytest.mark.parametrize(
    ("tries", "event", "named", "says"),
    [
        (1, 0, False, "has failed 1 times; it is not skipped"),
        (0, 0, True, "has failed 0 times; it is not skipped"),
        (2, 1, True, "failed before its first event"),
    ],
    ids=["retried", "as one of a list", "not the next event"],
)
async def test_an_event_that_is_not_skipped_stays_with_its_worker(
    shop: Shop, tries: int, event: int, named: bool, says: str
) -> None:
    await shop.fail("failure", tries, event=event)
    skipped, reason = await skip(shop.scripts, shop.processor, 0, named)
    assert skipped is None
    assert says in reason
    assert await shop.dead_letters() == []
    assert (await shop.described()).checkpoint == "0-0"
    assert await shop.owner() == "w1"


async def test_an_event_that_its_worker_finishes_meanwhile_is_not_skipped(shop: Shop) -> None:
    await shop.fail("failure", 2)

    class SlowScripts(Scripts):
        """The worker commits the event after the operator has seen that it failed."""

        async def call(self, call: Call, ack: AckRequirement | None = None) -> Any:
            reply = await super().call(call, ack)
            if call.script == "describe":
                move = CheckpointMove("0-0", shop.ids[0], 1)
                await super().call(protocol.commit(shop.keys, shop.token, move))
            return reply

    said = f"the next event is now {shop.ids[1]}, not {shop.ids[0]}, which failed: run this again"
    with pytest.raises(ConfigError, match=said):
        await skip(SlowScripts(shop.redis), shop.processor, 0)
    described = await shop.described()
    assert described.checkpoint == shop.ids[0]
    assert await shop.dead_letters() == []
    assert await shop.redis.hget(shop.keys.state, "released") == b"1"
    assert await shop.owner() == "-"
