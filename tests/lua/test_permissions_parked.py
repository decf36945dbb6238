"""Calls about parked events under an ACL: a missing permission stops them before they write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.lua.conftest import ASIDE, NONCE, OTHER, PARKED, STATE
from tests.lua.parking import COUNTS, REPLAY, entry, park, parked, replayed
from tests.lua.postponing import FAILURE, due, postpone, postponed
from tests.lua.steps import SINK_LOG, SINK_META, ready, refused
from tests.lua.test_permissions import NO_PERMISSION, Restricted, user

__all__ = ["user"]


@pytest.mark.parametrize("permission", ["xadd", "hset", "hget", "hdel", "xgroup|setid"])
async def test_an_event_is_parked_as_a_whole_or_not_at_all(
    user: Restricted, permission: str
) -> None:
    epoch, ids = await ready(user)
    await user.rule(f"-{permission}")
    call = park(user, epoch, "0-0", ids[0], entry("alice", ids[0]))
    await refused(user, NO_PERMISSION, call)
    await user.rule(f"+{permission}")
    assert await park(user, epoch, "0-0", ids[0], entry("alice", ids[0])) == [1, 0]


def _replayed(user: Restricted, epoch: int, ids: list[str], entries: list[str]) -> Awaitable[Any]:
    return replayed(user, epoch, ids[2], entries[1])


def _park_again(user: Restricted, epoch: int, _: list[str], __: list[str]) -> Awaitable[Any]:
    keys = [STATE, COUNTS, REPLAY]
    return user.call("park_again", keys, epoch, NONCE, "bob", "7-0 4 ValueError x")


def _replay(user: Restricted, _: int, __: list[str], ___: list[str]) -> Awaitable[Any]:
    return user.call("replay", [STATE, COUNTS, REPLAY], "3" * 32, "alice")


def _drop_parked(user: Restricted, _: int, __: list[str], entries: list[str]) -> Awaitable[Any]:
    return user.call("drop_parked", [STATE, *ASIDE], "3" * 32, entries[1])


def _take_letters(user: Restricted, _: int, ids: list[str], __: list[str]) -> Awaitable[Any]:
    names = [SINK_LOG, SINK_META, STATE, *PARKED]
    return user.call("take_letters", names, "3" * 32, 9, "1-0", *entry("bob", ids[0]))


@pytest.mark.parametrize(
    ("make", "permissions"),
    [
        (_replayed, ["xdel", "hset", "hdel", "xgroup|setid"]),
        (_park_again, ["hset", "hdel"]),
        (_replay, ["hset"]),
        (_drop_parked, ["xdel", "hset", "hdel"]),
        (_take_letters, ["xadd", "xdel", "hset"]),
    ],
)
async def test_a_call_about_parked_events_without_a_permission_has_written_nothing(
    user: Restricted,
    make: Callable[[Restricted, int, list[str], list[str]], Awaitable[Any]],
    permissions: list[str],
) -> None:
    _, ids, entries = await parked(user)
    await user.owner.redis.xadd(SINK_LOG, {"msgpack": "dead"}, "1-0")
    await user.call("replay", [STATE, COUNTS, REPLAY], OTHER, "bob")
    epoch = (await user.claim(11))["epoch"]
    for permission in permissions:
        await user.rule(f"-{permission}")
        await refused(user, NO_PERMISSION, make(user, epoch, ids, entries))
        await user.rule(f"+{permission}")
    assert await make(user, epoch, ids, entries) in ([1, 0], 1)


@pytest.mark.parametrize("permission", ["zadd", "zrange", "xadd", "hset", "xgroup|setid"])
async def test_an_event_is_postponed_as_a_whole_or_not_at_all(
    user: Restricted, permission: str
) -> None:
    epoch, ids = await ready(user)
    await user.rule(f"-{permission}")
    await refused(user, NO_PERMISSION, postpone(user, epoch, "0-0", ids[0], 0))
    await user.rule(f"+{permission}")
    assert await postpone(user, epoch, "0-0", ids[0], 0) == [1, 0]


@pytest.mark.parametrize("permission", ["zadd", "zrem", "zrange", "hset", "hdel"])
async def test_a_postponed_event_fails_again_as_a_whole_or_not_at_all(
    user: Restricted, permission: str
) -> None:
    epoch, _, (first, _) = await postponed(user, 0)
    await user.rule(f"-{permission}")
    call = user.call("postpone", [STATE, *ASIDE], epoch, NONCE, first, 500, FAILURE)
    await refused(user, NO_PERMISSION, call)


@pytest.mark.parametrize("permission", ["zrem", "hset", "hdel", "zrange", "xrange", "hget"])
async def test_what_is_gone_is_cleaned_up_as_a_whole_or_not_at_all(
    user: Restricted, permission: str
) -> None:
    epoch, ids, (first, _) = await postponed(user, 0)
    await replayed(user, epoch, ids[1], first)
    await user.rule(f"-{permission}")
    await refused(user, NO_PERMISSION, due(user))
    await user.rule(f"+{permission}")
    assert (await due(user))[1] == 1
