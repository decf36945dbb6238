"""A trim by hand does what its dry run says, whatever the partition holds."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from runnel import App, Record, keys
from runnel.operations import admin, stream_admin
from runnel.operations.stream_admin import Trim
from runnel.protocol.scripts import Scripts

DAY = 86_400_000


class Order(Record):
    id: int


class Shop:
    """A stream of one partition with ten old events, and two processors."""

    def __init__(self, redis: Redis, name: str) -> None:
        self.redis, self.scripts = redis, Scripts(redis)
        self.app = App(name)
        self.orders = self.app.stream("orders", record=Order, partition_by="id", partition_count=1)
        for each in ("bill", "mail"):
            self.app.processor(self.orders, name=each)(self._handler)
        self.log = keys.log(self.orders.spec.prefix(0))

    async def _handler(self, events: object) -> None:
        """It does not run."""

    async def fill(self) -> None:
        for i in range(10):
            await self.redis.xadd(self.log, {"json": "{}"}, id=f"100000000-{i}")

    async def at(self, processor: str, event: int) -> None:
        """The processor has committed the events before this one."""
        found = self.app.processors[processor]
        await admin.add(self.scripts, found)
        await admin.reset(self.scripts, found, f"100000000-{event}")


@pytest.fixture
async def shop(redis: Redis, app_name: str) -> Shop:
    made = Shop(redis, app_name)
    await made.fill()
    return made


CASES = [
    ("nobody reads", Trim(max_age_ms=DAY), {}, 0, "-"),
    ("nobody reads, and that is fine", Trim(max_age_ms=DAY, unread=True), {}, 10, None),
    ("nobody reads, to a size", Trim(size=3, unread=True), {}, 7, None),
    ("all is committed", Trim(max_age_ms=DAY), {"bill": 10}, 9, None),
    ("the slower one", Trim(max_age_ms=DAY), {"bill": 8, "mail": 4}, 3, "mail"),
    ("nothing is committed", Trim(size=2), {"bill": 0}, 0, "bill"),
    ("to a size", Trim(size=8), {"bill": 8}, 2, None),
    ("to a size that is not reached", Trim(size=3), {"bill": 5}, 4, "bill"),
    ("by both", Trim(size=9, max_age_ms=DAY), {"bill": 6}, 5, "bill"),
    ("all are young", Trim(max_age_ms=10**14), {"bill": 6}, 0, None),
    ("by name", Trim(max_age_ms=DAY, drop=True), {"bill": 8, "mail": 4}, 9, None),
    ("by name, to a size", Trim(size=4, drop=True), {"bill": 2}, 6, None),
]


@pytest.mark.parametrize(
    ("what", "at", "removed", "kept_for"), [each[1:] for each in CASES], ids=[c[0] for c in CASES]
)
async def test_s4_s7_a_trim_does_what_its_dry_run_says(
    shop: Shop, what: Trim, at: dict[str, int], removed: int, kept_for: str | None
) -> None:
    for processor, event in at.items():
        await shop.at(processor, event)
    spec = shop.orders.spec
    dry = await stream_admin.would_trim(shop.scripts, spec, what, [0])
    assert await shop.redis.xlen(shop.log) == 10
    done = await stream_admin.trim(shop.scripts, spec, what, [0])
    assert done == dry
    assert done.removed == {0: removed}
    assert done.kept_for.get(0) == kept_for
    assert done.lost == {
        name: removed - event for name, event in at.items() if what.drop and removed > event
    }
    assert await shop.redis.xlen(shop.log) == 10 - removed


async def test_a_missing_consumer_group_keeps_everything(shop: Shop) -> None:
    await shop.at("bill", 8)
    await shop.redis.xgroup_destroy(shop.log, "bill")
    for act in (stream_admin.would_trim, stream_admin.trim):
        done = await act(shop.scripts, shop.orders.spec, Trim(max_age_ms=DAY), [0])
        assert (done.removed, done.kept_for) == ({0: 0}, {0: "bill"})


async def test_a_stream_without_events_has_nothing_to_trim(redis: Redis, app_name: str) -> None:
    made = Shop(redis, app_name)
    assert await stream_admin.create(made.scripts, made.orders.spec)
    for act in (stream_admin.would_trim, stream_admin.trim):
        done = await act(made.scripts, made.orders.spec, Trim(size=1), [0])
        assert (done.removed, done.kept_for) == ({0: 0}, {})
