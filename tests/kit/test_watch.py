"""What Redis says of a trial."""

from __future__ import annotations

import asyncio
import secrets

from runnel import protocol
from runnel.conformance.contract import CONTRACT, GROUP, PARTITIONS, PARTS
from runnel.conformance.sender import KEYS, Sender, partition_of
from runnel.conformance.watch import Watch

KEY = next(each for each in KEYS if partition_of(each) == 1)
RECORD = {"key": KEY, "number": 1, "work": 0, "text": ""}


async def test_an_empty_server(watch: Watch) -> None:
    await watch.collect()
    assert await watch.owners() == [""] * PARTITIONS
    assert (await watch.members(), await watch.lag()) == (set(), 0)


async def test_events_stay_known_after_they_are_trimmed(watch: Watch) -> None:
    sender = Sender(watch.scripts)
    await watch.call(protocol.declare(PARTS[0].prefix, CONTRACT))
    await sender.send([RECORD, RECORD | {"number": 2}])
    assert await watch.lag() > 0
    await watch.collect()
    await watch.ask("XTRIM", PARTS[1].log, "MAXLEN", 0)
    await watch.ask("XADD", PARTS[1].log, "*", "x", "y")
    await watch.collect()
    first, second, strange = watch._history.log[1].values()
    assert (first.record, second.record) == (RECORD, RECORD | {"number": 2})
    assert (strange.record, "names no serializer" in strange.problem) == (None, True)


async def test_owners_are_living_members(watch: Watch) -> None:
    for part in PARTS:
        await watch.scripts.call(protocol.register(part, CONTRACT, "0"))
    member = ("w1", "start", "host 1 test 0")
    call = protocol.sync(GROUP, PARTITIONS, (1500, 5000, 0), member, 1, "stay", [], [])
    reply = protocol.read_sync(await watch.scripts.call(call))
    claim = protocol.claim(PARTS[0], CONTRACT, "w1", reply.grants[0].number, secrets.token_hex(16))
    await watch.scripts.call(claim)
    assert await watch.members() == {"w1"}
    assert await watch.owners() == ["w1", "", "", ""]


async def test_it_goes_on_when_its_own_connections_are_cut(watch: Watch) -> None:
    await asyncio.gather(watch.states(), watch.states(), watch.members())
    for _ in range(3):
        await watch.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert await watch.owners() == [""] * PARTITIONS


async def test_a_condition_may_fail_for_a_while(watch: Watch) -> None:
    seen = 0

    async def third() -> bool:
        nonlocal seen
        seen += 1
        if seen < 3:
            raise OSError("the server is away")
        return True

    assert await watch.until(third, 10.0, 0.001)

    async def never() -> bool:
        return False

    assert not await watch.until(never, 0.01, 0.001)
