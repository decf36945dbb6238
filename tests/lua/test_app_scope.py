"""lead, tick, group_description and regrant: the leader lease, cron instants, a group looked at."""

from __future__ import annotations

from typing import Any

from tests.lua.conftest import MEMBERS, PLAN, SESSIONS, Raw
from tests.lua.steps import refused, repeated

LEADER, TICKS = "runnel:{shop}:leader", "runnel:{shop}:ticks"
DAILY = "0 2 * * * UTC"
ROSTER = [PLAN, MEMBERS, SESSIONS]


async def lead(raw: Raw, nonce: str, action: str = "hold") -> Any:
    return await raw.call("elect", [LEADER], f"member-{nonce}", nonce, 5000, action)


async def test_one_leads_and_the_others_are_told_how_long(raw: Raw) -> None:
    assert await lead(raw, "n1") == [1, 5000]
    before = await raw.dump()
    leading, left = await lead(raw, "n2")
    assert leading == 0
    assert 0 < left <= 5000
    assert await raw.dump() == before


async def test_s6_giving_up_the_lead_repeats_and_only_the_leader_can(raw: Raw) -> None:
    await lead(raw, "n1")
    before = await raw.dump()
    assert (await lead(raw, "n2", "leave"))[0] == 0
    assert await raw.dump() == before
    replies = await repeated(raw, "elect", [LEADER], "member-n1", "n1", 5000, "leave")
    assert replies == ([0, 0], [0, 0])
    assert (await lead(raw, "n2"))[0] == 1


async def test_only_a_leader_that_leaves_tells_those_who_wait(raw: Raw) -> None:
    async with raw.redis.pubsub() as heard:
        await heard.subscribe("runnel:{shop}:wake")
        assert (await heard.get_message(timeout=5))["type"] == "subscribe"
        await lead(raw, "n2", "leave")
        await lead(raw, "n1")
        await lead(raw, "n2", "leave")
        await lead(raw, "n1")
        assert await heard.get_message(timeout=0.1) is None
        await lead(raw, "n1", "leave")
        message = await heard.get_message(ignore_subscribe_messages=True, timeout=5)
        assert message["data"] in (b"leave", "leave")


async def test_a_new_start_under_an_old_name_does_not_inherit_the_lead(raw: Raw) -> None:
    await raw.call("elect", [LEADER], "same", "n1", 5000, "hold")
    assert (await raw.call("elect", [LEADER], "same", "n2", 5000, "hold"))[0] == 0


async def test_l6_an_instant_fires_for_one_of_several_and_its_repeat_writes_nothing(
    raw: Raw,
) -> None:
    assert await repeated(raw, "tick", [TICKS], "t", 1000, "x", DAILY) == ([1, 0], [1, 0])
    for instant, nonce in ((1000, "y"), (999, "x")):
        before = await raw.dump()
        assert await raw.call("tick", [TICKS], "t", instant, nonce, DAILY) == [0, 0]
        assert await raw.dump() == before
    assert await raw.call("tick", [TICKS], "t", 1001, "y", DAILY) == [1, 0]
    assert await raw.call("tick", [TICKS], "other", 1000, "y", DAILY) == [1, 0]


async def known(raw: Raw, schedule: str = DAILY) -> int:
    """Make the task "t" known. Returns since when it is, or when it fired last."""
    assert await repeated(raw, "tick", [TICKS], "t", 0, "x", schedule) == ([0, 0], [0, 0])
    stored = await raw.redis.hget(TICKS, "t")
    assert stored is not None
    return int(stored.split()[0])


async def test_what_was_due_before_a_task_was_known_never_fires(raw: Raw) -> None:
    since = await known(raw)
    for instant in (since, since - 1, since - 3_600_000):
        assert await raw.call("tick", [TICKS], "t", instant, "x", DAILY) == [0, 0]
    while (reply := await raw.call("tick", [TICKS], "t", since + 1, "x", DAILY))[0] == 2:
        pass
    assert reply == [1, 0]


async def test_a_task_that_is_known_stays_known_since_then(raw: Raw) -> None:
    since = await known(raw)
    while (await raw.call("tick", [TICKS], "t", since + 1, "x", DAILY))[0] == 2:
        pass
    assert await known(raw) == since + 1
    assert await raw.call("tick", [TICKS], "t", since + 1, "x", DAILY) == [1, 0]
    assert await raw.call("tick", [TICKS], "t", since + 1, "y", DAILY) == [0, 0]


async def test_a_new_schedule_is_due_from_when_it_was_known(raw: Raw) -> None:
    assert await raw.call("tick", [TICKS], "t", 1000, "x", DAILY) == [1, 0]
    assert await known(raw) == 1000
    since = await known(raw, "0 3 * * * UTC")
    assert since > 1_000_000
    assert await raw.call("tick", [TICKS], "t", since, "x", "0 3 * * * UTC") == [0, 0]
    # One that never ran under a wrong clock is not set back.
    await raw.redis.hset(TICKS, "t", f"9000000000000 x {DAILY}")
    assert await known(raw, "0 3 * * * UTC") == 9_000_000_000_000


async def test_an_instant_that_is_not_due_is_not_remembered(raw: Raw) -> None:
    verdict, wait = await raw.call("tick", [TICKS], "t", 9_000_000_000_000, "x", DAILY)
    assert (verdict, wait > 0) == (2, True)
    assert await raw.dump() == {}


async def test_cron_tasks_are_bounded(raw: Raw) -> None:
    await raw.redis.hset(TICKS, mapping={f"t{number}": "1 x" for number in range(1000)})
    said = await refused(raw, "BADARG", raw.call("tick", [TICKS], "new", 1000, "x", DAILY))
    assert "limit=1000" in said
    assert await raw.call("tick", [TICKS], "t0", 1000, "x", DAILY) == [1, 0]


async def test_roster_shows_members_and_grants_and_writes_nothing(raw: Raw) -> None:
    await raw.sync("a", 1, partitions=2)
    _, grants = await raw.sync("b", 1, partitions=2)
    assert grants == {}
    before = await raw.dump()
    _, generation, session, count, *rest = await raw.call("describe_group", ROSTER)
    assert await raw.dump() == before
    assert (generation > 0, session, count) == (True, 10_000, 2)
    members = [rest[i : i + 6] for i in range(0, 12, 6)]
    assert [(each[0], each[2], each[4], each[5]) for each in members] == [
        ("a", "1", "stay", "host 1 test 1"),
        ("b", "1", "stay", "host 1 test 1"),
    ]
    assert all(0 < int(each[1]) <= 10_000 for each in members)
    records = {rest[i]: rest[i + 1 : i + 3] for i in range(12, len(rest), 4)}
    assert set(records) == {"0", "1"}
    assert [holder for holder, _ in records.values()] == ["a", "a"]
    assert sorted(target for _, target in records.values()) == ["a", "b"]


async def test_roster_of_a_group_that_is_not_there_is_empty(raw: Raw) -> None:
    assert (await raw.call("describe_group", ROSTER))[1:] == [0, 0, 0]
    await refused(raw, "BADARG", raw.call("describe_group", ROSTER, "x"))
    await refused(raw, "BADARG", raw.call("describe_group", ROSTER[:2]))


async def test_regrant_passes_over_what_nobody_holds(raw: Raw) -> None:
    assert await raw.call("revoke", [PLAN], 0, 1) == 0
    assert await raw.dump() == {}
    await raw.sync("a", 1, partitions=2)
    assert await repeated(raw, "revoke", [PLAN], 0, 1, 99) == (2, 0)
