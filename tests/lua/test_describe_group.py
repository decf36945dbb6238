"""describe_group: members and assignments at one instant."""

from __future__ import annotations

from tests.lua.conftest import MEMBERS, PLAN, SESSIONS, Raw
from tests.lua.steps import refused

KEYS = [PLAN, MEMBERS, SESSIONS]


async def test_members_and_assignments_are_listed_and_nothing_is_written(raw: Raw) -> None:
    await raw.sync("a", 1, partitions=2)
    _, grants = await raw.sync("b", 1, partitions=2)
    assert grants == {}
    before = await raw.dump()
    _, generation, session, count, *rest = await raw.call("describe_group", KEYS)
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
    assert [owner for owner, _ in records.values()] == ["a", "a"]
    assert sorted(target for _, target in records.values()) == ["a", "b"]


async def test_a_group_that_does_not_exist_is_empty(raw: Raw) -> None:
    assert (await raw.call("describe_group", KEYS))[1:] == [0, 0, 0]
    await refused(raw, "BADARG", raw.call("describe_group", KEYS, "x"))
    await refused(raw, "BADARG", raw.call("describe_group", KEYS[:2]))
