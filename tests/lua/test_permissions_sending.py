"""Sends and retention under an ACL: a missing permission stops a call before it writes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.conftest import (
    DELAYED,
    LOG,
    META,
    NONCE,
    NUMBERS,
    PRODUCERS,
    STATE,
)
from tests.lua.steps import ready, refused
from tests.lua.test_permissions import NO_PERMISSION, Restricted, user

__all__ = ["user"]


@pytest.mark.parametrize("permission", ["xadd", "hset", "xtrim", "xinfo|groups"])
@pytest.mark.parametrize("script", ["append", "trim"])
async def test_old_events_are_removed_as_a_whole_or_not_at_all(
    user: Restricted, permission: str, script: str
) -> None:
    for i in range(3):
        await user.owner.redis.xadd(LOG, {"f": "v"}, id=f"1000-{i + 1}")
    await user.register()
    await user.call("seek", [LOG, META, STATE], "printer", "$", "", NONCE)

    async def remove() -> Any:
        if script == "append":
            return await user.append(1, size="100,60000")  # type: ignore[arg-type]
        return await user.call("trim", [LOG, META], 0, 60_000, "refuse")

    await user.rule(f"-{permission}")
    if (script, permission) != ("trim", "xadd"):
        await refused(user, NO_PERMISSION, remove())
    await user.rule(f"+{permission}")
    await remove()
    assert (await user.ids())[0] == "1000-3"


@pytest.mark.parametrize("permission", ["hincrby", "xgroup|setid", "xtrim"])
async def test_a_trim_by_name_drops_and_counts_or_does_nothing(
    user: Restricted, permission: str
) -> None:
    await ready(user, 9)
    await user.rule(f"-{permission}")
    await refused(user, NO_PERMISSION, user.call("trim", [LOG, META], 4, 0, "drop_oldest"))
    await user.rule(f"+{permission}")
    assert await user.call("trim", [LOG, META], 4, 0, "drop_oldest") == [5, 0, ""]


@pytest.mark.parametrize("permission", ["xadd", "hset", "xtrim", "hincrby", "xgroup|setid"])
async def test_an_append_is_applied_once_after_its_permission_was_taken_and_given_back(
    user: Restricted, permission: str
) -> None:
    await ready(user, 9)
    await user.rule(f"-{permission}")
    send: dict[str, Any] = {"size": 10, "when_full": "drop_oldest"}
    await refused(user, NO_PERMISSION, user.append(2, 3, **send))
    await user.rule(f"+{permission}")
    assert (await user.append(2, 3, **send))[0] == 1
    assert (await user.append(2, 3, **send))[0] == 0
    assert len(await user.ids()) == 10


async def test_a_first_append_without_permission_does_not_declare_the_stream(
    user: Restricted,
) -> None:
    await user.rule("-xadd")
    await refused(user, NO_PERMISSION, user.append(1, 2))


async def test_an_append_that_forgets_producers_needs_the_permission_for_that(
    user: Restricted,
) -> None:
    await user.append(1)
    producers = {f"p{i}": f"1 {1_700_000_000_000 + i}-0 1" for i in range(1100)}
    await user.owner.redis.hset(PRODUCERS, mapping=producers)  # type: ignore[arg-type]
    await user.rule("-hdel")
    await refused(user, NO_PERMISSION, user.append(1, producer="new"))
    await user.rule("+hdel")
    assert (await user.append(1, producer="new"))[0] == 1


@pytest.mark.parametrize("permission", ["xadd", "hset", "xtrim", "hincrby", "xgroup|setid"])
async def test_a_numbered_append_is_applied_once_after_its_permission_was_given_back(
    user: Restricted, permission: str
) -> None:
    await ready(user, 9)
    await user.rule(f"-{permission}")
    send: dict[str, Any] = {"size": 10, "when_full": "drop_oldest"}
    await refused(user, NO_PERMISSION, user.append_numbered([1, 2, 3], **send))
    await user.rule(f"+{permission}")
    assert (await user.append_numbered([1, 2, 3], **send))[0] == 3
    assert (await user.append_numbered([1, 2, 3], **send))[0] == 0
    assert len(await user.ids()) == 10


@pytest.mark.parametrize("permission", ["xadd", "hset", "set", "xtrim", "hincrby", "xgroup|setid"])
async def test_an_append_under_a_key_is_applied_once_after_its_permission_was_given_back(
    user: Restricted, permission: str
) -> None:
    await ready(user, 10)
    await user.rule(f"-{permission}")
    send: dict[str, Any] = {"size": 10, "when_full": "drop_oldest"}
    await refused(user, NO_PERMISSION, user.append_once("order-17", **send))
    await user.rule(f"+{permission}")
    assert (await user.append_once("order-17", **send))[0] == 1
    assert (await user.append_once("order-17", **send))[0] == 0
    assert len(await user.ids()) == 10


@pytest.mark.parametrize("permission", ["xadd", "set", "hset", "hsetnx"])
async def test_a_first_append_under_a_key_without_permission_does_not_declare_the_stream(
    user: Restricted, permission: str
) -> None:
    await user.rule(f"-{permission}")
    await refused(user, NO_PERMISSION, user.append_once("order-17"))


async def test_a_first_numbered_append_without_permission_does_not_declare_the_stream(
    user: Restricted,
) -> None:
    await user.rule("-xadd")
    await refused(user, NO_PERMISSION, user.append_numbered([1, 2]))


async def test_a_numbered_append_that_forgets_producers_needs_the_permission_for_that(
    user: Restricted,
) -> None:
    await user.append_numbered([1])
    known = {f"producer:{i}": f"0-7 {1_700_000_000_000 + i}-0 1 0-7" for i in range(1100)}
    await user.owner.redis.hset(NUMBERS, mapping=known)  # type: ignore[arg-type]
    await user.rule("-hdel")
    await refused(user, NO_PERMISSION, user.append_numbered([1], sender="producer:new"))
    await user.rule("+hdel")
    assert (await user.append_numbered([1], sender="producer:new"))[0] == 1


@pytest.mark.parametrize("permission", ["zadd", "hset", "set"])
async def test_a_delayed_event_is_kept_as_a_whole_or_not_at_all(
    user: Restricted, permission: str
) -> None:
    await user.rule(f"-{permission}")
    await refused(user, NO_PERMISSION, user.append_later("a", "x", "y", ms=60_000))
    await user.rule(f"+{permission}")
    assert (await user.append_later("a", "x", "y", ms=60_000))[0] == 1
    assert await user.owner.redis.zcard(DELAYED) == 2


@pytest.mark.parametrize("permission", ["xadd", "zremrangebyrank", "hset", "hdel"])
async def test_delayed_events_are_promoted_as_a_whole_or_not_at_all(
    user: Restricted, permission: str
) -> None:
    await user.append_later("a", "x", "y")
    await user.rule(f"-{permission}")
    await refused(user, NO_PERMISSION, user.promote())
    await user.rule(f"+{permission}")
    assert await user.promote() == [2, 0, -1, 0]


@pytest.mark.parametrize("permission", ["zremrangebyrank", "hset", "hdel"])
async def test_a_delayed_event_is_cancelled_as_a_whole_or_not_at_all(
    user: Restricted, permission: str
) -> None:
    _, due, first, _ = await user.append_later("a")
    await user.rule(f"-{permission}")
    await refused(user, NO_PERMISSION, user.cancel(due, first))
    await user.rule(f"+{permission}")
    assert await user.cancel(due, first) == 1


async def test_without_permission_to_publish_a_delayed_event_is_kept(user: Restricted) -> None:
    await user.rule("-publish")
    assert (await user.append_later("a"))[0] == 1
