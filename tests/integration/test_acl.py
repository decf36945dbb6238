"""A user without a permission, or a server without a command, is refused before any write."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from runnel.connection.connect import connect
from runnel.errors import ServerError
from runnel.preflight.acl import commands_of
from runnel.preflight.checks import (
    check_sender,
    check_worker,
)
from runnel.protocol.scripts import Scripts, sources
from runnel.worker.worker import Worker
from tests.integration.clerk import PICKY, SENDER, WORKER, Grant, Numbered, app, items, seen
from tests.integration.restricted import (
    Item,
    declare,
    refusal_of_worker,
    restricting_proxy,
    server_without,
)
from tests.servers import Server

#: On a cluster, users exist per node; tests/deployments covers that.
pytestmark = pytest.mark.only_on("server", "sentinel")


async def refusal(url: str, work: Callable[[Scripts, str], Awaitable[object]]) -> str:
    """The error message of `work`, which must be refused."""
    async with connect(url) as client:
        with pytest.raises(ServerError) as caught:
            await work(Scripts(client), url)
    return str(caught.value)


def fix(message: str) -> list[str]:
    """The rules that an error message says to grant."""
    commands = message.partition(": ACL SETUSER clerk ")[2].split(", then ACL SETUSER clerk ")
    return [rule for command in commands for rule in command.split()]


async def refusal_of_sender(url: str) -> str:
    """The error of the preflight check of a sender."""
    spec = declare(url).streams["items"].spec
    async with connect(url) as client:
        with pytest.raises(ServerError) as caught:
            await check_sender(Scripts(client), spec, "primary", url)
    return str(caught.value)


async def test_a_worker_without_subscribe_warns_and_still_works(
    redis: Redis, grant: Grant, caplog: pytest.LogCaptureFixture
) -> None:
    app.configure(
        redis_url=await grant([*(each for each in WORKER if each != "+subscribe"), *SENDER])
    )
    seen.clear()
    try:
        await items.send(Numbered(key="k", number=3))
        await Worker(app).run(burst=True)
    finally:
        await app.close()
    assert seen == [3]
    (message,) = [each.getMessage() for each in caplog.records if "SUBSCRIBE" in each.getMessage()]
    assert "does not let its user clerk run SUBSCRIBE: a worker learns of changes" in message
    assert message.endswith(
        "with its next heartbeat, and not at once. ACL SETUSER clerk +subscribe"
    )


@pytest.mark.parametrize("rule", [each for each in WORKER if each != "+subscribe"])
async def test_a_worker_without_one_permission_names_it_and_writes_nothing(
    redis: Redis, grant: Grant, rule: str
) -> None:
    app.configure(redis_url=await grant([each for each in WORKER if each != rule]))
    with pytest.raises(ServerError) as caught:
        await Worker(app).run(burst=True)
    message = str(caught.value)
    named = rule[1:].replace("|", " ").upper() if rule.startswith("+") else rule[1:]
    assert named in message.partition("ACL SETUSER")[0]
    # Without the channel, PUBLISH and SUBSCRIBE are both refused.
    ways = ["+publish", "+subscribe"] if rule.startswith("&") else []
    assert fix(message) == [*ways, rule]
    assert "secret" not in message
    assert await redis.keys() == []


@pytest.mark.parametrize("rule", SENDER)
async def test_a_sender_without_one_permission_names_it(
    redis: Redis, grant: Grant, rule: str
) -> None:
    url = await grant([each for each in SENDER if each != rule])
    message = await refusal(
        url, lambda scripts, at: check_sender(scripts, items.spec, "primary", at)
    )
    assert fix(message) == [rule]
    assert await redis.keys() == []


async def test_a_sender_that_waits_for_a_replica_needs_more_permissions(
    redis: Redis, grant: Grant
) -> None:
    url = await grant(SENDER)
    message = await refusal(
        url, lambda scripts, at: check_sender(scripts, items.spec, "replica", at)
    )
    assert fix(message) == ["+pexpire", "+set", "+wait"]
    async with connect(await grant([*SENDER, *fix(message)])) as client:
        await check_sender(Scripts(client), items.spec, "replica", url)


@pytest.mark.parametrize(
    "rules",
    [
        [],
        ["+evalsha"],
        ["+evalsha", "+script|load"],
        ["~*", "&*", "+evalsha"],
        ["+@all"],
        ["+@all", "~other:*", "&other:*"],
        ["+@all", "&*", "~runnel:{acl:*"],
        ["+@read", "+@write", "~*", "&*"],
    ],
)
async def test_granting_what_the_errors_say_leads_to_a_worker_that_starts(
    redis: Redis, grant: Grant, rules: list[str]
) -> None:
    async def begin(scripts: Scripts, url: str) -> None:
        await check_worker(scripts, app, [PICKY], url)

    granted = [*rules]
    for _ in range(4):  # Scripts, then keys, then commands on them.
        async with connect(url := await grant(granted)) as client:
            try:
                return await begin(Scripts(client), url)
            except ServerError as error:
                rules_to_grant = fix(str(error))
                granted += [
                    each for each in rules_to_grant if not each.startswith("&") or "&*" not in rules
                ]
    pytest.fail(f"still not enough: {granted}")


async def test_checking_permissions_writes_no_key_and_no_acl_log_entry(
    redis: Redis, grant: Grant
) -> None:
    await redis.execute_command("ACL", "LOG", "RESET")  # type: ignore[no-untyped-call]
    url = await grant(["+evalsha", "+script|load"])
    await refusal(url, lambda scripts, at: check_worker(scripts, app, [PICKY], at))
    assert await redis.execute_command("ACL", "LOG") == []  # type: ignore[no-untyped-call]
    assert await redis.keys() == []


async def test_permissions_are_checked_on_a_cluster_node_too(
    cluster: Redis, cluster_url: str
) -> None:
    assert await check_worker(Scripts(cluster), app, [PICKY], cluster_url) == []


@pytest.mark.parametrize("script", sorted(sources()))
def test_every_command_that_a_script_calls_is_found_in_its_source(script: str) -> None:
    source = sources()[script].decode()
    calls = source.count("redis.call(") + source.count("redis.pcall(")
    # `check_allowed` calls a command that the script also names elsewhere.
    calls -= source.count("redis.call(...)")
    literal = source.count("redis.call('") + source.count("redis.pcall('")
    assert calls == literal
    assert bool(commands_of(script)) == bool(calls)
    for container in ("XGROUP", "XINFO", "CLIENT", "SCRIPT", "OBJECT", "MEMORY"):
        assert container not in commands_of(script)


@pytest.mark.only_on("server")  # It starts its own.
@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("CLIENT", "CLIENT ID, CLIENT UNBLOCK"),
        ("PUBLISH", "PUBLISH"),
        ("TIME", "TIME"),
        ("XREAD", "XREAD"),
    ],
)
async def test_a_worker_names_the_missing_command_and_sending_still_works(
    command: str, named: str
) -> None:
    with server_without(command) as server:
        message = await refusal_of_worker(server.url)
        assert (
            f"Redis at {server.url} has no {named}, without which a worker cannot work" in message
        )
        app = declare(server.url)
        await app.streams["items"].send(Item(key="a"))
        await app.close()


@pytest.mark.only_on("server")  # It starts its own.
@pytest.mark.parametrize("command", ["SCRIPT", "EVALSHA", "XGROUP", "HSET", "XINFO"])
async def test_a_command_that_both_need_is_named_to_workers_and_senders(command: str) -> None:
    with server_without(command) as server:
        for message in (await refusal_of_worker(server.url), await refusal_of_sender(server.url)):
            assert f"Redis at {server.url} has no " in message
            assert command in message.partition(", without which ")[0]
            assert "renamed or disabled there, or a proxy in between does not pass it on" in message
            # The source of the script, which the server repeats, is left out.
            assert len(message) < 500
        with server.client() as client:
            assert client.dbsize() == 0


@pytest.mark.only_on("server")  # It starts its own.
@pytest.mark.parametrize("command", ["INFO", "SUBSCRIBE"])
async def test_a_missing_command_that_is_optional_is_a_warning(
    command: str, caplog: pytest.LogCaptureFixture
) -> None:
    with server_without(command) as server:
        app = declare(server.url)
        await app.streams["items"].send(Item(key="a"))
        with caplog.at_level(logging.WARNING, "runnel"):
            await Worker(app).run(burst=True)
        (message,) = [
            each.getMessage() for each in caplog.records if " has no " in each.getMessage()
        ]
        assert message.startswith(f"Redis at {server.url} has no {command}")
        with server.client() as client:
            assert client.exists("runnel:apps")


@pytest.mark.only_on("server")  # It starts its own.
@pytest.mark.parametrize("command", ["CONFIG", "KEYS", "ACL", "EVAL", "FLUSHALL", "MONITOR"])
async def test_commands_that_managed_servers_lack_are_not_needed(
    command: str, caplog: pytest.LogCaptureFixture
) -> None:
    with server_without(command) as server:
        app = declare(server.url)
        await app.streams["items"].send(Item(key="a"))
        with caplog.at_level(logging.WARNING, "runnel"):
            await Worker(app).run(burst=True)
        assert " has no " not in caplog.text


@pytest.mark.only_on("server")  # It starts its own.
@pytest.mark.parametrize(
    "answer",
    [b"-ERR unsupported command\r\n", b"-invalid request\r\n", b"-ERR unknown command\r\n"],
)
async def test_a_proxy_that_knows_no_scripts_is_named(server: Server, answer: bytes) -> None:
    refused: dict[bytes, bytes | None] = dict.fromkeys((b"INFO", b"EVALSHA", b"SCRIPT"), answer)
    async with restricting_proxy(server.url, refused) as url:
        for message in (await refusal_of_worker(url), await refusal_of_sender(url)):
            assert f"Redis at {url} has no EVALSHA, SCRIPT LOAD, without which " in message
