"""The rule of each role has what the role needs, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import keys
from runnel.connection.connect import connect
from runnel.embedded.binary import find_binary
from runnel.errors import ConfigError, ServerError
from runnel.preflight.acl import check
from runnel.preflight.roles import ROLES, Role, required, rule
from runnel.protocol.scripts import Scripts
from tests.servers import Server

#: What a role is granted without a check that asks for it: what they tell is not vital.
UNCHECKED = {"info", "script|exists"}
#: Without it a client learns later of changes.
DISPENSABLE = {"subscribe"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(find_binary(), appendonly="no") as server:
        yield server


@pytest.fixture
async def owner(server: Server) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url) as client:
        yield client


async def make(owner: Redis, text: str) -> None:
    """Run the command of a rule, as a paste does."""
    await owner.execute_command(*text.replace("PASSWORD", "secret").split())  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("role", ROLES)
async def test_the_checks_pass_under_the_rule_and_miss_each_command_that_is_taken_away(
    server: Server, owner: Redis, role: Role
) -> None:
    made = rule(role, "shop")
    await make(owner, made.text())
    url = server.url.replace("://", f"://{made.user}:secret@")
    async with connect(url) as client:
        scripts = Scripts(client)
        await scripts.load()

        async def checked() -> list[str]:
            return [
                each for part in required(role, "shop") for each in await check(scripts, part, url)
            ]

        assert await checked() == []
        for command in sorted({*made.commands} - UNCHECKED):
            await make(owner, f"ACL SETUSER {made.user} -{command}")
            if command in DISPENSABLE:
                assert command in "".join(await checked())
            else:
                with pytest.raises(
                    ServerError, match=f"{made.user} \\+.*{command}".replace("|", "\\|")
                ):
                    await checked()
            await make(owner, f"ACL SETUSER {made.user} +{command}")
        assert await checked() == []
        log: list[Any] = await owner.execute_command("ACL", "LOG")  # type: ignore[no-untyped-call]
        assert {each[b"object"] for each in map(as_dict, log)} <= {b"evalsha", b"script|load"}


def as_dict(flat: Any) -> dict[bytes, Any]:
    """An item of ACL LOG."""
    return flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))


@pytest.mark.parametrize("role", ROLES)
async def test_the_keys_of_other_apps_are_refused(server: Server, owner: Redis, role: Role) -> None:
    made = rule(role, "shop")
    await make(owner, made.text())
    url = server.url.replace("://", f"://{made.user}:secret@")
    async with connect(url) as client:
        for part in required(role, "shopping"):
            with pytest.raises(ServerError, match=r"use the keys runnel:\{shopping:"):
                await check(Scripts(client), part, url)


@pytest.mark.parametrize("role", ROLES)
async def test_a_rule_for_all_apps_covers_each(server: Server, owner: Redis, role: Role) -> None:
    made = rule(role, None)
    assert made.user == f"runnel-{role}"
    assert made.keys == (keys.EVERY,)
    await make(owner, made.text())
    url = server.url.replace("://", f"://{made.user}:secret@")
    async with connect(url) as client:
        for part in required(role, "shopping"):
            assert await check(Scripts(client), part, url) == []


async def test_a_rule_takes_away_what_the_user_had(server: Server, owner: Redis) -> None:
    await make(owner, "ACL SETUSER shop-viewer on nopass ~* &* +@all")
    made = rule("viewer", "shop")
    await make(owner, made.text())
    found: Any = await owner.execute_command("ACL", "GETUSER", "shop-viewer")  # type: ignore[no-untyped-call]
    user = as_dict(found)
    granted = {each[1:] for each in user[b"commands"].decode().split() if each[0] == "+"}
    assert granted == set(made.commands)
    assert set(user[b"keys"].decode().split()) == {f"~{each}" for each in made.keys}
    assert (user[b"channels"], len(user[b"passwords"])) == (b"", 1)
    assert b"nopass" not in user[b"flags"]


def test_roles_that_only_look_or_send_may_do_nothing_else() -> None:
    viewer, producer = rule("viewer", "shop"), rule("producer", "shop")
    assert not {"hset", "xadd", "del", "unlink", "publish", "xgroup|setid"} & {*viewer.commands}
    assert not {"del", "unlink", "xread", "subscribe", "info", "hscan"} & {*producer.commands}
    assert producer.keys == producer.channels == ("runnel:{shop:*",)
    assert viewer.channels == ()
    assert "+asking" not in viewer.text()


def test_durability_and_a_cluster_take_some_more_commands() -> None:
    least = {*rule("producer", "shop").commands}
    waits = {*rule("producer", "shop", durability="replica").commands}
    assert waits - least == {"pexpire", "wait"}
    assert "waitaof" in rule("worker", "shop", durability="fsync").commands
    cluster = {*rule("producer", "shop", cluster=True).commands}
    assert cluster - least == {"asking", "cluster|info", "cluster|slots"}


def test_a_name_that_no_app_may_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="app name"):
        rule("worker", "a b")
    assert rule("worker", "shop", user="w").text().startswith("ACL SETUSER w reset ")
