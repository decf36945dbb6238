"""A Redis user without a permission that Runnel needs is refused before anything is written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from runnel import App, DeadLetterMiddleware, Events, ExceptionPolicy, Record, keys, protocol
from runnel.connection.connect import connect
from runnel.errors import ServerError
from runnel.operations import admin
from runnel.operations.registry import announce_processor
from runnel.operations.removing import remove
from runnel.operations.skipping import skip
from runnel.preflight.acl import Required, check, commands_of
from runnel.preflight.checks import (
    check_deletion,
    check_operator,
    check_sender,
    check_worker,
    required_by_deletion,
    required_by_operator,
    required_by_registration,
    required_by_sender,
    required_by_worker,
)
from runnel.protocol import text
from runnel.protocol.scripts import Scripts, sources
from runnel.worker.worker import Worker

#: On a cluster, users exist per node; tests/deployments covers that.
pytestmark = pytest.mark.only_on("server", "sentinel")
Grant = Callable[[Sequence[str]], Awaitable[str]]


class Item(Record):
    key: str
    number: int


app = App("acl", rebalance_delay=0.0, backoff=0.001, retries=1)
items = app.stream("items", record=Item, partition_by="key", partition_count=2)
seen: list[int] = []


@app.processor(items, exception_policy=ExceptionPolicy.IGNORE, middleware=[DeadLetterMiddleware()])
async def picky(events: Events[Item]) -> None:
    async for item in events.records():
        if item.number == 2:
            raise ValueError("2 is not wanted")
        seen.append(item.number)


@app.timer(interval=3600, on_leader=True)
async def sweep() -> None: ...


def minimal_rules(required: Required) -> list[str]:
    """The ACL rules that allow exactly what `required` lists."""
    named = [command for command, _ in (*required.uses(), *required.channels)]
    commands = {"evalsha", "script|load", *(each.lower().replace(" ", "|") for each in named)}
    patterns = [f"~{each}" for each in keys.patterns(required.app)]
    used = [
        each for each in patterns if any(key.startswith(each[1:-1]) for key in required.keys_used())
    ]
    names = [name for _, name in required.channels]
    channels = [
        f"&{each[1:]}" for each in patterns if any(name.startswith(each[1:-1]) for name in names)
    ]
    return [*sorted(f"+{each}" for each in commands), *used, *channels]


PICKY = app.processors["picky"]
WORKER = minimal_rules(required_by_worker(app, [PICKY]))
SENDER = minimal_rules(required_by_sender(items.spec))


@pytest.fixture
async def grant(redis: Redis, redis_url: str) -> AsyncIterator[Grant]:
    """Sets the ACL rules of the user `clerk`; returns a URL that logs in as clerk."""
    address = urlsplit(redis_url)

    async def rules(rules: Sequence[str]) -> str:
        start = ("reset", "on", ">secret", "resetchannels")
        await redis.execute_command("ACL", "SETUSER", "clerk", *start, *rules)  # type: ignore[no-untyped-call]
        return address._replace(netloc=f"clerk:secret@{address.netloc.rpartition('@')[2]}").geturl()

    yield rules
    await redis.acl_deluser("clerk")


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


async def test_the_required_rules_are_enough_to_send_and_to_work(
    redis: Redis, grant: Grant
) -> None:
    app.configure(redis_url=await grant([*WORKER, *SENDER]))
    seen.clear()
    try:
        await items.send(*(Item(key="k", number=number) for number in (1, 2, 3)))
        await Worker(app).run(burst=True)
    finally:
        await app.close()
    assert seen == [1, 3]
    assert PICKY.sink is not None
    dead = [await redis.xlen(f"{PICKY.sink.prefix(p)}:log") for p in (0, 1)]
    assert sum(dead) == 1


async def test_a_worker_without_subscribe_warns_and_still_works(
    redis: Redis, grant: Grant, caplog: pytest.LogCaptureFixture
) -> None:
    app.configure(
        redis_url=await grant([*(each for each in WORKER if each != "+subscribe"), *SENDER])
    )
    seen.clear()
    try:
        await items.send(Item(key="k", number=3))
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


async def test_the_required_rules_are_enough_to_register(redis: Redis, grant: Grant) -> None:
    registration = required_by_registration(PICKY)
    async with connect(await grant(minimal_rules(registration))) as client:
        scripts = Scripts(client)
        await check(scripts, registration, "redis://clerk:secret@h")
        await admin.add(scripts, PICKY)
        await announce_processor(scripts, PICKY)


@pytest.mark.parametrize("action", ["reset", "pause", "resume", "skip", "remove"])
async def test_the_required_rules_are_enough_for_an_operator(
    redis: Redis, grant: Grant, action: str
) -> None:
    scripts = Scripts(redis)
    await admin.add(scripts, PICKY)
    if action == "skip":
        app.configure(redis_url=await grant([*WORKER, *SENDER]))
        try:
            (sent,) = await items.send(Item(key="k", number=2))
        finally:
            await app.close()
        partition_keys = PICKY.keys(sent.partition)
        await scripts.call(protocol.claim(partition_keys, PICKY.stream.contract, "m", 1, "n" * 16))
        for field, value in (("quarantined", "1"), ("error_event", sent.id)):
            await redis.hset(partition_keys.of_script()[2], field, value)
    url = await grant(minimal_rules(required_by_operator(PICKY, action)))
    async with connect(url) as client:
        clerk = Scripts(client)
        await check_operator(clerk, PICKY, action, url)
        if action == "reset":
            assert await admin.reset(clerk, PICKY, "9999999999999-0") == ["0-0", "0-0"]
        elif action == "pause":
            assert await admin.pause(clerk, PICKY) == 2
        elif action == "resume":
            assert await admin.resume(clerk, PICKY, [0, 1]) == 0
        elif action == "skip":
            assert (await skip(clerk, PICKY, sent.partition)).event == sent.id
            await admin.resume(clerk, PICKY, [sent.partition])
        else:
            assert await remove(clerk, PICKY) == (2, 0)


async def test_the_required_rules_are_enough_to_delete_a_stream(redis: Redis, grant: Grant) -> None:
    await admin.add(Scripts(redis), PICKY)
    url = await grant(minimal_rules(required_by_deletion(items.spec)))
    async with connect(url) as client:
        await check_deletion(Scripts(client), items.spec, url)
        assert await admin.delete_stream(Scripts(client), items.spec) == 0
    metas = [keys.meta(items.spec.prefix(p)) for p in range(items.spec.partition_count)]
    assert sorted(map(text, await redis.keys())) == metas
    for meta in metas:
        assert 0 < await redis.ttl(meta) <= 86_400, "the tombstone for running clients expires"


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
