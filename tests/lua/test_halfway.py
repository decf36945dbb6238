"""S5 under the ACL: a right that is taken stops a call before its first write, not behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from runnel.connection.connect import connect
from tests.lua.conftest import GROUP, LOG, META, NONCE, OTHER, PLAN, SESSIONS, STATE, Raw
from tests.lua.steps import ready, refused
from tests.lua.test_emit import SINK_LOG, SINK_META, emit

#: How Redis begins, 7.0 otherwise than those after it; the client takes the word NOPERM off.
NO_RIGHT = "(ACL failure in script|The user executing the script can.t run this .*script):"


class Restricted(Raw):
    """Scripts called by a user whose rights are taken while others look after the server."""

    def __init__(self, owner: Raw, redis: Any) -> None:
        super().__init__(redis)
        self.owner = owner

    async def dump(self) -> dict[bytes, object]:
        return await self.owner.dump()

    async def rule(self, *rules: str) -> None:
        """Change the user's rights."""
        await self.owner.redis.execute_command("ACL", "SETUSER", "worker", *rules)  # type: ignore[no-untyped-call]


@pytest.fixture
async def user(raw: Raw) -> AsyncIterator[Restricted]:
    """A user who may do everything, so far."""
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


@pytest.mark.parametrize("right", ["xadd", "hset", "hdel", "xgroup|setid"])
async def test_an_emit_lands_whole_or_not_at_all(user: Restricted, right: str) -> None:
    epoch, ids = await ready(user)
    await user.rule(f"-{right}")
    await refused(user, NO_RIGHT, emit(user, epoch, "0-0", ids[0]))
    await user.rule(f"+{right}")
    assert await emit(user, epoch, "0-0", ids[0]) == [1, 0]
    assert await user.owner.redis.xlen(SINK_LOG) == 1


@pytest.mark.parametrize("right", ["xtrim", "hincrby", "xgroup|setid"])
async def test_an_emit_that_makes_room_needs_every_right_for_it(
    user: Restricted, right: str
) -> None:
    epoch, ids = await ready(user)
    state = f"{SINK_LOG.removesuffix(':log')}:processor:undertaker"
    await user.call("register", [SINK_LOG, SINK_META, state], 1, 8, "xxh64", "undertaker", "0")
    await emit(user, epoch, "0-0", ids[0], size=2)
    await emit(user, epoch, ids[0], ids[1], size=2)
    await user.rule(f"-{right}")
    step = (ids[1], ids[2])
    await refused(user, NO_RIGHT, emit(user, epoch, *step, size=2, policy="drop_oldest"))
    await user.rule(f"+{right}")
    assert await emit(user, epoch, *step, size=2, policy="drop_oldest") == [1, 0]


@pytest.mark.parametrize("right", ["xadd", "hset", "xtrim", "hincrby", "xgroup|setid"])
async def test_an_append_lands_once_however_its_rights_come_and_go(
    user: Restricted, right: str
) -> None:
    await ready(user, 9)
    await user.rule(f"-{right}")
    send: dict[str, Any] = {"size": 10, "policy": "drop_oldest"}
    await refused(user, NO_RIGHT, user.append(2, 3, **send))
    await user.rule(f"+{right}")
    assert (await user.append(2, 3, **send))[0] == 1
    assert (await user.append(2, 3, **send))[0] == 0
    assert len(await user.ids()) == 10


async def test_a_first_append_says_nothing_of_the_stream_that_it_may_not_write_to(
    user: Restricted,
) -> None:
    await user.rule("-xadd")
    await refused(user, NO_RIGHT, user.append(1, 2))


async def test_an_append_that_has_to_forget_a_producer_may_do_so(user: Restricted) -> None:
    await user.append(1)
    producers = {f"p{i}": f"1 {1_700_000_000_000 + i}-0 1" for i in range(1100)}
    await user.owner.redis.hset(f"{LOG.removesuffix(':log')}:producers", mapping=producers)  # type: ignore[arg-type]
    await user.rule("-hdel")
    await refused(user, NO_RIGHT, user.append(1, producer="new"))
    await user.rule("+hdel")
    assert (await user.append(1, producer="new"))[0] == 1


def _claim(user: Restricted, _: int, __: list[str]) -> Awaitable[Any]:
    return user.claim(11, OTHER)


def _commit(user: Restricted, epoch: int, ids: list[str]) -> Awaitable[Any]:
    return user.commit(epoch, "0-0", ids[0], 1)


def _seek(user: Restricted, _: int, ids: list[str]) -> Awaitable[Any]:
    return user.call("seek", [LOG, META, STATE], "printer", ids[2], "", OTHER)


def _resume(user: Restricted, _: int, __: list[str]) -> Awaitable[Any]:
    return user.call("resume", [STATE])


def _remove(user: Restricted, _: int, __: list[str]) -> Awaitable[Any]:
    return user.call("remove", [LOG, META, STATE], "printer")


@pytest.mark.parametrize(
    ("make", "rights"),
    [
        (_claim, ["hset", "xgroup|setid", "xrange"]),
        (_commit, ["hset", "hdel", "xgroup|setid"]),
        (_seek, ["hset", "hdel", "xgroup|setid"]),
        (_resume, ["hset", "hdel"]),
        (_remove, ["hset", "hdel", "del", "xgroup|destroy"]),
    ],
)
async def test_a_call_whose_right_was_taken_has_written_nothing(
    user: Restricted,
    make: Callable[[Restricted, int, list[str]], Awaitable[Any]],
    rights: list[str],
) -> None:
    epoch, ids = await ready(user)
    await user.call("attempt", [STATE], epoch, NONCE, "quarantine", ids[0], 3, "Boom", "x")
    await user.owner.redis.xgroup_setid(LOG, "printer", ids[0], entries_read=1)
    for right in rights:
        await user.rule(f"-{right}")
        await refused(user, NO_RIGHT, make(user, epoch, ids))
        await user.rule(f"+{right}")
    await make(user, epoch, ids)


@pytest.mark.parametrize("right", ["zadd", "zrem", "hdel", "hset", "hgetall", "zrange"])
async def test_who_died_is_found_by_a_member_that_gets_its_rights_back(
    user: Restricted, right: str
) -> None:
    await user.sync("a", 1)
    _, grants = await user.sync("a", 2, held=[], session_timeout=10_000)
    await user.sync("b", 1)
    held = [(p, grant) for p, (grant, _) in grants.items()]
    await user.sync("a", 3, held=held[:4], released=[(p, g, 0) for p, g in held[4:]])
    await user.owner.redis.zadd(SESSIONS, {"b": 1})
    await user.rule(f"-{right}")
    await refused(user, NO_RIGHT, user.sync("a", 4, held=held[:4]))
    await user.rule(f"+{right}")
    _, grants = await user.sync("a", 5, held=held[:4])
    assert len(grants) == 8


async def test_without_the_right_to_publish_others_hear_of_it_later(user: Restricted) -> None:
    await user.sync("a", 1)
    await user.rule("-publish")
    _, grants = await user.sync("b", 1)
    assert not grants
    assert await user.call("revoke", [PLAN], 0, 1) == 2
    leader = [f"{GROUP}:leader"]
    assert await user.call("elect", leader, "a", "n", 1000, "hold") == [1, 1000]
    assert await user.call("elect", leader, "a", "n", 1000, "leave") == [0, 0]


@pytest.mark.parametrize("right", ["hset", "hdel", "hsetnx", "xgroup|create", "xsetid"])
async def test_a_log_that_vanished_is_made_anew_as_a_whole(user: Restricted, right: str) -> None:
    epoch, ids = await ready(user)
    await user.commit(epoch, "0-0", ids[1], 2)
    await user.owner.redis.delete(LOG)
    await user.rule(f"-{right}")
    await refused(user, NO_RIGHT, user.register())
    await user.rule(f"+{right}")
    assert await user.register() == [2, ids[1]]
    info: Any = await user.owner.redis.xinfo_stream(LOG)
    assert info["last-generated-id"].decode() == ids[1]


async def test_a_stream_that_is_wanted_again_stays_deleted_until_that_can_be_said(
    user: Restricted,
) -> None:
    await ready(user)
    await user.call("remove", [LOG, META, STATE], "printer")
    await user.call("delete", [LOG, META, f"{LOG.removesuffix(':log')}:producers"])
    for right in ("hdel", "hsetnx"):
        await user.rule(f"-{right}")
        await refused(user, NO_RIGHT, user.call("declare", [META], 1, 8, "xxh64"))
        await user.rule(f"+{right}")
    assert await user.call("declare", [META], 1, 8, "xxh64") == 1
