"""S5 under an ACL: a missing permission stops a call before its first write, not after it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from runnel.connection.connect import connect
from tests.lua.conftest import (
    ASIDE,
    DELETED,
    GROUP,
    LOG,
    META,
    NONCE,
    OTHER,
    OUTBOX,
    PLAN,
    SESSIONS,
    STATE,
    Raw,
)
from tests.lua.snapshots import ID, OTHER_ID, RECORD, copied, copy, own, restore, step
from tests.lua.steps import SINK_LOG, SINK_META, emit, emitted, ready, refused

TABLE = META.replace(":meta", ":table:balances")

#: The beginning of the refusal: Redis 7.0 words it in its own way. The client takes off NOPERM.
NO_PERMISSION = "(ACL failure in script|The user executing the script can.t run this .*script):"


class Restricted(Raw):
    """Calls of a user whose permissions another user revokes."""

    def __init__(self, owner: Raw, redis: Any) -> None:
        super().__init__(redis)
        self.owner = owner

    async def dump(self) -> dict[bytes, object]:
        return await self.owner.dump()

    async def rule(self, *rules: str) -> None:
        """Change the user's permissions."""
        await self.owner.redis.execute_command("ACL", "SETUSER", "worker", *rules)  # type: ignore[no-untyped-call]


@pytest.fixture
async def user(raw: Raw) -> AsyncIterator[Restricted]:
    """A user who may do everything until a test changes that."""
    at = raw.redis.connection_pool.connection_kwargs
    await raw.redis.execute_command(  # type: ignore[no-untyped-call]
        "ACL", "SETUSER", "worker", "reset", "on", ">pw", "~*", "&*", "+@all"
    )
    url = (
        f"unix://worker:pw@{at['path']}"
        if "path" in at
        else (f"redis://worker:pw@{at['host']}:{at['port']}")
    )
    async with connect(url) as client:
        yield Restricted(raw, client)
    await raw.redis.execute_command("ACL", "DELUSER", "worker")  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("permission", ["xadd", "hset", "hdel", "xgroup|setid"])
async def test_an_emit_is_applied_as_a_whole_or_not_at_all(
    user: Restricted, permission: str
) -> None:
    epoch, ids = await ready(user)
    await user.rule(f"-{permission}")
    await refused(user, NO_PERMISSION, emit(user, epoch, "0-0", ids[0]))
    await user.rule(f"+{permission}")
    assert await emit(user, epoch, "0-0", ids[0]) == [1, 0]
    assert await user.owner.redis.xlen(SINK_LOG) == 1


@pytest.mark.parametrize("permission", ["xadd", "hset", "xgroup|setid"])
async def test_entries_reach_the_outbox_as_a_whole_or_not_at_all(
    user: Restricted, permission: str
) -> None:
    epoch, ids = await ready(user)
    await user.rule(f"-{permission}")
    await refused(user, NO_PERMISSION, emitted(user, epoch, "0-0", ids[0], number=2))
    await user.rule(f"+{permission}")
    assert await emitted(user, epoch, "0-0", ids[0], number=2) == [1, 0]
    assert await user.owner.redis.xlen(OUTBOX) == 2


@pytest.mark.parametrize("permission", ["xtrim", "hincrby", "xgroup|setid"])
async def test_an_emit_that_trims_needs_every_permission_for_that(
    user: Restricted, permission: str
) -> None:
    epoch, ids = await ready(user)
    state = f"{SINK_LOG.removesuffix(':log')}:processor:undertaker"
    await user.call("register", [SINK_LOG, SINK_META, state], 1, 8, "xxh64", "undertaker", "0")
    await emit(user, epoch, "0-0", ids[0], size=2)
    await emit(user, epoch, ids[0], ids[1], size=2)
    await user.rule(f"-{permission}")
    step = (ids[1], ids[2])
    await refused(user, NO_PERMISSION, emit(user, epoch, *step, size=2, when_full="drop_oldest"))
    await user.rule(f"+{permission}")
    assert await emit(user, epoch, *step, size=2, when_full="drop_oldest") == [1, 0]


def _claim(user: Restricted, _: int, __: list[str]) -> Awaitable[Any]:
    return user.claim(11, OTHER)


def _commit(user: Restricted, epoch: int, ids: list[str]) -> Awaitable[Any]:
    return user.commit(epoch, "0-0", ids[0], 1)


def _seek(user: Restricted, _: int, ids: list[str]) -> Awaitable[Any]:
    return user.call("seek", [LOG, META, STATE, TABLE], "printer", ids[2], "", OTHER)


def _resume(user: Restricted, _: int, __: list[str]) -> Awaitable[Any]:
    return user.call("resume", [STATE])


def _clear_table(user: Restricted, _: int, __: list[str]) -> Awaitable[Any]:
    return user.call("clear_table", [META, STATE, TABLE], "printer", OTHER)


async def _snapshot(user: Restricted, _: int, __: list[str]) -> Any:
    return await step(user, "begin", OTHER_ID, ("balances",))


async def _restore(user: Restricted, _: int, __: list[str]) -> Any:
    return await restore(user, OTHER, ("balances",))


def _remove(user: Restricted, _: int, __: list[str]) -> Awaitable[Any]:
    return user.call("remove", [LOG, META, STATE, OUTBOX, *ASIDE], "printer")


def _trim_outbox(user: Restricted, epoch: int, _: list[str]) -> Awaitable[Any]:
    call = (epoch, NONCE, f"{epoch}-2", 2, 1, "", "")
    return user.call("trim_outbox", [STATE, OUTBOX], *call)


@pytest.mark.parametrize(
    ("make", "permissions"),
    [
        (_claim, ["hset", "xgroup|setid", "xrange"]),
        (_commit, ["hset", "hdel", "xgroup|setid"]),
        (_seek, ["hset", "hdel", "xgroup|setid", "unlink"]),
        (_resume, ["hset", "hdel"]),
        (_clear_table, ["hset", "hdel", "unlink"]),
        (_snapshot, ["hset", "unlink"]),
        (_restore, ["hset", "hdel", "xgroup|setid", "unlink", "rename"]),
        (_remove, ["hset", "hdel", "del", "unlink", "xgroup|destroy", "xlen"]),
        (_trim_outbox, ["hset", "hdel", "xtrim"]),
    ],
)
async def test_a_call_without_a_permission_has_written_nothing(
    user: Restricted,
    make: Callable[[Restricted, int, list[str]], Awaitable[Any]],
    permissions: list[str],
) -> None:
    epoch, ids = await ready(user)
    await user.call("attempt", [STATE], epoch, NONCE, "quarantine", ids[0], 3, "Boom", "x")
    await user.owner.redis.xgroup_setid(LOG, "printer", ids[0], entries_read=1)
    await user.owner.redis.hset(TABLE, "alice", "5")
    if make is _restore:
        await step(user.owner, "begin", ID, ("balances",))
        await copied(user.owner, "balances")
        await step(user.owner, "finish", ID, ("balances",))
        await copied(user.owner, "balances", restoring=True)
    waits = {"outbox_last": 2, "outbox_waits_for": "alerts"}
    await user.owner.redis.hset(STATE, mapping=waits)  # type: ignore[arg-type]
    for permission in permissions:
        await user.rule(f"-{permission}")
        await refused(user, NO_PERMISSION, make(user, epoch, ids))
        await user.rule(f"+{permission}")
    await make(user, epoch, ids)


@pytest.mark.parametrize("permission", ["hset", "zadd", "zmscore", "unlink"])
async def test_a_page_of_a_table_is_copied_only_with_all_permissions(
    user: Restricted, permission: str
) -> None:
    await ready(user)
    await user.owner.redis.hset(TABLE, "alice", "5")
    await user.owner.redis.zadd(f"{TABLE}:expiry", {"alice": 1})
    await step(user.owner, "begin", ID, ("balances",))
    keys = [RECORD, *own("balances"), *copy("balances")]
    await user.rule(f"-{permission}")
    await refused(user, NO_PERMISSION, user.call("copy_table", keys, ID, 0, 9, 0))
    await user.rule(f"+{permission}")
    assert (await user.call("copy_table", keys, ID, 0, 9, 0))[:2] == ["0", 1]


@pytest.mark.parametrize("permission", ["zadd", "zrem", "hdel", "hset", "hgetall", "zrange"])
async def test_a_dead_member_is_still_found_after_a_permission_was_taken_and_given_back(
    user: Restricted, permission: str
) -> None:
    await user.sync("a", 1)
    _, grants = await user.sync("a", 2, held=[], session_timeout=10_000)
    await user.sync("b", 1)
    held = [(p, grant) for p, (grant, _) in grants.items()]
    await user.sync("a", 3, held=held[:4], released=[(p, g, 0) for p, g in held[4:]])
    await user.owner.redis.zadd(SESSIONS, {"b": 1})
    await user.rule(f"-{permission}")
    await refused(user, NO_PERMISSION, user.sync("a", 4, held=held[:4]))
    await user.rule(f"+{permission}")
    _, grants = await user.sync("a", 5, held=held[:4])
    assert len(grants) == 8


async def test_without_the_permission_to_publish_calls_succeed(user: Restricted) -> None:
    await user.sync("a", 1)
    await user.rule("-publish")
    _, grants = await user.sync("b", 1)
    assert not grants
    assert await user.call("revoke", [PLAN], 0, 1) == 2
    leader = [f"{GROUP}:leader"]
    assert await user.call("elect", leader, "a", "n", 1000, "hold") == [1, 1000]
    assert await user.call("elect", leader, "a", "n", 1000, "leave") == [0, 0]


@pytest.mark.parametrize("permission", ["hset", "hdel", "hsetnx", "xgroup|create", "xsetid"])
async def test_a_lost_log_is_restored_as_a_whole_or_not_at_all(
    user: Restricted, permission: str
) -> None:
    epoch, ids = await ready(user)
    await user.commit(epoch, "0-0", ids[1], 2)
    await user.owner.redis.delete(LOG)
    await user.rule(f"-{permission}")
    await refused(user, NO_PERMISSION, user.register())
    await user.rule(f"+{permission}")
    assert await user.register() == [2, ids[1]]
    info: Any = await user.owner.redis.xinfo_stream(LOG)
    assert info["last-generated-id"].decode() == ids[1]


async def test_a_deleted_stream_stays_deleted_until_declare_has_its_permissions(
    user: Restricted,
) -> None:
    await ready(user)
    await user.call("remove", [LOG, META, STATE, OUTBOX, *ASIDE], "printer")
    await user.call("delete", DELETED)
    for permission in ("hdel", "hsetnx"):
        await user.rule(f"-{permission}")
        await refused(user, NO_PERMISSION, user.call("declare", [META], 1, 8, "xxh64"))
        await user.rule(f"+{permission}")
    assert await user.call("declare", [META], 1, 8, "xxh64") == 1
