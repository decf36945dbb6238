"""revoke: owners must claim their partitions again."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from tests.lua.conftest import PLAN, Raw
from tests.lua.steps import repeated


async def test_the_owner_of_a_revoked_partition_gets_a_new_grant(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1)
    assert await raw.call("revoke", [PLAN], 0, 1) == 2
    _, again = await raw.sync("a", 2)
    assert {p for p in grants if again[p] != grants[p]} == {0, 1}
    for bad in ([], ["x"], [0] * 1001):
        with pytest.raises(ResponseError, match=r"^BADARG "):
            await raw.call("revoke", [PLAN], *bad)


async def test_a_revoked_partition_that_another_member_gets_is_missing_in_the_reply_to_its_owner(
    raw: Raw,
) -> None:
    _, all_of_it = await raw.sync("a", 1, partitions=2)
    await raw.call("revoke", [PLAN], 0, 1)
    _, given = await raw.sync("b", 1, partitions=2)
    assert len(given) == 1
    held = [(p, g) for p, (g, _) in all_of_it.items()]
    _, left = await raw.sync("a", 2, partitions=2, held=held)
    assert set(left) == {0, 1} - set(given)


async def test_a_partition_that_is_moving_keeps_its_grant(raw: Raw) -> None:
    _, all_of_it = await raw.sync("a", 1, partitions=2)
    await raw.sync("b", 1, partitions=2)
    held = [(p, g) for p, (g, _) in all_of_it.items()]
    _, asked = await raw.sync("a", 2, partitions=2, held=held)
    (moving,) = [p for p, (_, keep) in asked.items() if not keep]
    assert await raw.call("revoke", [PLAN], 0, 1) == 1, "the other one"
    _, given = await raw.sync("b", 2, partitions=2)
    assert given == {}, "its owner still has a current event"
    await raw.sync("a", 3, partitions=2, held=held, released=[(moving, asked[moving][0], 0)])
    _, given = await raw.sync("b", 3, partitions=2)
    assert set(given) == {moving}


async def test_partitions_without_an_owner_are_not_revoked(raw: Raw) -> None:
    assert await raw.call("revoke", [PLAN], 0, 1) == 0
    assert await raw.dump() == {}
    await raw.sync("a", 1, partitions=2)
    assert await repeated(raw, "revoke", [PLAN], 0, 1, 99) == (2, 0)
