"""Snapshots of tables are taken and put in place while workers run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from runnel import keys, protocol
from runnel.errors import ConfigError, RunnelError
from runnel.operations import admin, snapshots
from runnel.operations.snapshot_parts import Snapshot, snapshots_of
from runnel.operations.snapshots import restore, returns_of, take
from runnel.processor import Processor
from runnel.protocol.scripts import Call, Scripts
from runnel.worker.worker import Worker
from tests.worker.bank import Bank, Payment
from tests.worker.workers import until


@pytest.fixture
async def bank(redis: Redis, redis_url: str, app_name: str) -> AsyncIterator[Bank]:
    made = Bank(app_name, redis_url)
    made.go_on.set()
    async with made.app:
        yield made


async def snapshot(bank: Bank, redis: Redis) -> list[bool]:
    """Take one. Returns on which partitions the processor was paused."""
    processor = bank.app.processors["book"]
    return [paused async for _, _, paused in take(Scripts(redis), processor, "monday")]


async def go_back(bank: Bank, redis: Redis) -> list[str]:
    """Restore it. Returns the checkpoints."""
    scripts, processor = Scripts(redis), bank.app.processors["book"]
    found = (await snapshots_of(scripts, processor))["monday"]
    returns = await returns_of(scripts, processor, found)
    return [each async for _, each in restore(scripts, processor, "monday", returns)]


async def paused(bank: Bank, redis: Redis) -> list[bool]:
    processor, found = bank.app.processors["book"], []
    for number in range(4):
        call = protocol.describe(processor.keys(number))
        found.append(protocol.read_describe(await Scripts(redis).call(call)).paused)
    return found


def partition(bank: Bank, account: str) -> int:
    return bank.payments.spec.partition(Payment(account=account, amount=0))


async def test_a_running_worker_goes_back_with_the_tables(bank: Bank, redis: Redis) -> None:
    await bank.book(alice=5, bob=7, stop=1)
    assert await snapshot(bank, redis) == [False] * 4
    await bank.book(alice=3, carol=1)
    bank.go_on.clear()
    bank.waits.clear()
    await bank.payments.send(Payment(account="stop", amount=1))
    run = asyncio.create_task(Worker(bank.app).run(burst=True))
    await bank.waits.wait()
    # The handler has written 2 that is not committed, and knows what it has read.
    await go_back(bank, redis)
    assert await bank.balances.read_many(["alice", "carol"]) == {"alice": 5, "carol": 0}
    bank.go_on.set()
    await run
    found = await bank.balances.read_many(["alice", "bob", "carol", "stop"])
    assert found == {"alice": 8, "bob": 7, "carol": 1, "stop": 2}


async def test_a_partition_is_paused_only_while_it_is_copied_if_events_keep_coming(
    bank: Bank, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each copy meets a commit, until the partition is paused."""
    await bank.book(alice=1)
    at, tried = partition(bank, "alice"), 0
    call = Scripts.call
    worker = Worker(bank.app)
    run = asyncio.create_task(worker.run())

    async def meanwhile(scripts: Scripts, made: Call, **more: Any) -> Any:
        nonlocal tried
        if made.script == "snapshot" and "finish" in made.args:
            where = [number for number in range(4) if f":{number}}}" in made.keys[0]]
            if where == [at] and not any(await paused(bank, redis)):
                tried += 1
                before = await bank.balances.read("alice")
                await bank.payments.send(Payment(account="alice", amount=1))
                await until(lambda: _more(bank, before), "it is committed")
        return await call(scripts, made, **more)

    monkeypatch.setattr(Scripts, "call", meanwhile)
    assert await snapshot(bank, redis) == [number == at for number in range(4)]
    assert tried == 1
    assert await paused(bank, redis) == [False] * 4
    monkeypatch.undo()
    await bank.payments.send(Payment(account="alice", amount=1))
    await until(lambda: _more(bank, 2), "it goes on")
    worker.stop.set()
    await run
    await go_back(bank, redis)
    assert await bank.balances.read("alice") == 2
    await Worker(bank.app).run(burst=True)
    assert await bank.balances.read("alice") == 3


async def _more(bank: Bank, than: int) -> bool:
    return await bank.balances.read("alice") > than


async def never_at_rest(*_: Any) -> bool:
    return False


async def test_a_snapshot_that_is_cancelled_leaves_no_partition_paused(
    bank: Bank, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bank.book(alice=1)
    monkeypatch.setattr(snapshots, "_taken", never_at_rest)
    taking = asyncio.create_task(snapshot(bank, redis))
    await until(lambda: _any_paused(bank, redis), "it is paused")
    taking.cancel()
    with suppress(asyncio.CancelledError):
        await taking
    assert await paused(bank, redis) == [False] * 4


async def _any_paused(bank: Bank, redis: Redis) -> bool:
    return any(await paused(bank, redis))


async def test_a_partition_that_does_not_come_to_rest_is_resumed(
    bank: Bank, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bank.book(alice=1)
    monkeypatch.setattr(snapshots, "_taken", never_at_rest)
    monkeypatch.setattr(snapshots, "REST", 0.0)
    with pytest.raises(ConfigError, match="partition 0 of book has not come to rest in 0 s"):
        await snapshot(bank, redis)
    assert await paused(bank, redis) == [False] * 4


async def test_a_partition_that_an_operator_has_paused_stays_paused(
    bank: Bank, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bank.book(alice=1)
    await admin.pause(Scripts(redis), bank.app.processors["book"], [0, 2])
    monkeypatch.setattr(snapshots, "_taken", never_at_rest)
    monkeypatch.setattr(snapshots, "REST", 0.0)
    with pytest.raises(ConfigError):
        await snapshot(bank, redis)
    assert await paused(bank, redis) == [True, False, True, False]


async def test_a_partition_that_cannot_be_resumed_is_named(
    bank: Bank, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bank.book(alice=1)
    tries = 0

    async def away(*_: Any) -> int:
        nonlocal tries
        tries += 1
        raise ConnectionError("on purpose")

    monkeypatch.setattr(snapshots, "_taken", never_at_rest)
    monkeypatch.setattr(snapshots, "REST", 0.0)
    monkeypatch.setattr(snapshots, "RESUMES", 2)
    monkeypatch.setattr(snapshots, "RESUME_PAUSE", 0.0)
    monkeypatch.setattr(admin, "resume", away)
    with pytest.raises(RunnelError, match=r"runnel processor resume .*:book --partition 0"):
        await snapshot(bank, redis)
    assert tries == 2


async def test_a_restore_that_is_cut_off_is_completed_by_its_repeat(
    bank: Bank, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    amounts = {f"account {n}": n for n in range(1, 40)}
    await bank.book(**amounts)
    await snapshot(bank, redis)
    await bank.book(**amounts)
    restored = snapshots._restored
    count = 0

    async def cut_off(scripts: Scripts, at: Any, wanted: Any) -> str:
        nonlocal count
        count += 1
        if count == 3:
            await snapshots._copy(scripts, at, at.restored("balances"), wanted.part.id)
            raise ConnectionError("on purpose")
        return await restored(scripts, at, wanted)

    monkeypatch.setattr(snapshots, "_restored", cut_off)
    with pytest.raises(ConnectionError):
        await go_back(bank, redis)
    half = await bank.balances.read_many(amounts)
    assert half != amounts
    assert all(half[each] in (n, 2 * n) for each, n in amounts.items())
    assert len(await go_back(bank, redis)) == 4
    assert await bank.balances.read_many(amounts) == amounts
    await Worker(bank.app).run(burst=True)
    found = await bank.balances.read_many(amounts)
    assert found == {each: 2 * n for each, n in amounts.items()}


async def test_a_table_that_is_new_since_the_snapshot_is_empty_after_it(
    bank: Bank, redis: Redis
) -> None:
    await bank.book()
    processor = bank.app.processors["book"]
    await admin.add(Scripts(redis), processor)
    await snapshot(bank, redis)
    await bank.book(alice=5)
    await go_back(bank, redis)
    assert await bank.balances.read("alice") == 0
    await Worker(bank.app).run(burst=True)
    assert await bank.balances.read("alice") == 5


async def test_a_snapshot_that_somebody_else_takes_too_is_told(
    bank: Bank, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bank.book(alice=1)
    copy = snapshots._copy

    async def begun_again(scripts: Scripts, at: Any, *more: Any) -> None:
        await redis.hset(at.record, "id", "another")
        await copy(scripts, at, *more)

    monkeypatch.setattr(snapshots, "_copy", begun_again)
    with pytest.raises(RunnelError, match="monday was deleted meanwhile, or somebody else takes"):
        await snapshot(bank, redis)


async def test_large_values_are_copied_in_small_pages(
    bank: Bank, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bank.book(alice=1)
    number = partition(bank, "alice")
    name = keys.table(bank.payments.spec.prefix(number), "balances")
    await redis.hset(name, mapping={f"key {n}": "7" * 20_000 for n in range(600)})
    pages: list[int] = []
    read = protocol.read_copy_table

    def noting(reply: Any) -> protocol.Page:
        pages.append(int(reply[2]))
        return read(reply)

    monkeypatch.setattr(protocol, "read_copy_table", noting)
    monkeypatch.setattr(snapshots, "PAGE_BYTES", 400_000)
    await snapshot(bank, redis)
    assert len(pages) > 10
    assert max(pages[1:]) < 2_000_000
    found = (await snapshots_of(Scripts(redis), bank.app.processors["book"]))["monday"]
    assert found.tables == {"balances": 601}


async def test_events_that_leave_the_log_while_it_is_restored_are_told(
    bank: Bank, redis: Redis
) -> None:
    await bank.book(alice=1)
    await snapshot(bank, redis)
    await bank.book(alice=2)
    scripts, processor = Scripts(redis), bank.app.processors["book"]
    returns = await returns_of(scripts, processor, await _found(scripts, processor))
    number = partition(bank, "alice")
    await redis.xtrim(keys.log(bank.payments.spec.prefix(number)), 0)
    with pytest.raises(RunnelError, match=f"partition {number}: 1 events after the checkpoint"):
        [each async for each in restore(scripts, processor, "monday", returns)]
    assert await bank.balances.read("alice") == 3


async def _found(scripts: Scripts, processor: Processor) -> Snapshot:
    return (await snapshots_of(scripts, processor))["monday"]
