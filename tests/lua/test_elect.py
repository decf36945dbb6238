"""elect: the leader lease of an app."""

from __future__ import annotations

from typing import Any

from tests.lua.conftest import Raw
from tests.lua.steps import repeated

LEADER = "runnel:{shop}:leader"


async def elect(raw: Raw, nonce: str, action: str = "hold") -> Any:
    return await raw.call("elect", [LEADER], f"member-{nonce}", nonce, 5000, action)


async def test_one_member_leads_and_the_others_learn_for_how_long(raw: Raw) -> None:
    assert await elect(raw, "n1") == [1, 5000]
    before = await raw.dump()
    leading, left = await elect(raw, "n2")
    assert leading == 0
    assert 0 < left <= 5000
    assert await raw.dump() == before


async def test_a_member_leads_until_it_leaves_or_its_lease_ends(raw: Raw) -> None:
    assert (await raw.call("elect", [LEADER], "a", "n1", 5000, "hold"))[0] == 1
    assert (await raw.call("elect", [LEADER], "b", "n2", 5000, "hold"))[0] == 0
    assert (await raw.call("elect", [LEADER], "a", "n1", 5000, "hold"))[0] == 1
    await raw.redis.hset(LEADER, "ends", "1")
    assert (await raw.call("elect", [LEADER], "b", "n2", 5000, "hold"))[0] == 1
    await raw.redis.hset(LEADER, "ends", "9000000000000")
    assert (await raw.call("elect", [LEADER], "c", "n3", 5000, "hold"))[1] <= 5000
    assert (await raw.call("elect", [LEADER], "b", "n2", 5000, "leave"))[0] == 0
    assert (await raw.call("elect", [LEADER], "c", "n3", 5000, "hold"))[0] == 1


async def test_s6_only_the_leader_can_release_its_lease_and_may_repeat_it(raw: Raw) -> None:
    await elect(raw, "n1")
    before = await raw.dump()
    assert (await elect(raw, "n2", "leave"))[0] == 0
    assert await raw.dump() == before
    replies = await repeated(raw, "elect", [LEADER], "member-n1", "n1", 5000, "leave")
    assert replies == ([0, 0], [0, 0])
    assert (await elect(raw, "n2"))[0] == 1


async def test_a_message_is_published_only_when_a_leader_leaves(raw: Raw) -> None:
    async with raw.redis.pubsub() as heard:
        await heard.subscribe("runnel:{shop}:wake")
        assert (await heard.get_message(timeout=5))["type"] == "subscribe"
        await elect(raw, "n2", "leave")
        await elect(raw, "n1")
        await elect(raw, "n2", "leave")
        await elect(raw, "n1")
        assert await heard.get_message(timeout=0.1) is None
        await elect(raw, "n1", "leave")
        message = await heard.get_message(ignore_subscribe_messages=True, timeout=5)
        assert message["data"] in (b"leave", "leave")


async def test_a_new_start_under_the_same_member_id_does_not_lead(raw: Raw) -> None:
    await raw.call("elect", [LEADER], "same", "n1", 5000, "hold")
    assert (await raw.call("elect", [LEADER], "same", "n2", 5000, "hold"))[0] == 0
