"""Users with the permissions that docs/operations.md lists: enough for all, and none to spare."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import NoPermissionError, ResponseError, TimeoutError

from runnel import App, DeadLetterMiddleware, Events, ExceptionPolicy, Record, keys, protocol
from runnel.cli.following import follow as follow_log
from runnel.connection.connect import connect
from runnel.embedded.binary import Binary
from runnel.errors import BurstBlocked, ServerError
from runnel.operations import admin, inspection
from runnel.operations.loaded_scripts import verify
from runnel.operations.log_pages import merged
from runnel.operations.registry import announce_processor
from runnel.operations.removing import remove
from runnel.operations.skipping import skip
from runnel.operations.table_admin import clear, export, parts_of
from runnel.preflight.checks import check_reader
from runnel.preflight.roles import ROLES, required, rule
from runnel.preflight.server import check_server
from runnel.protocol.scripts import Scripts, sources
from runnel.worker.worker import Worker
from tests.deployments.steps import append, slot, spread
from tests.fleet import ClusterFleet, Migration, SentinelFleet
from tests.nodes import ask
from tests.servers import Server

DOCS = Path(__file__).parent.parent.parent / "docs" / "operations.md"
#: For the cluster alone.
ON_A_CLUSTER = {"asking", "cluster|info", "cluster|slots"}
#: Granted, and run only if a worker happens to wait for one partition while another gets room.
SELDOM = {"client|unblock"}


def line(user: str) -> list[str]:
    """The words of the ACL SETUSER command for a user in the docs."""
    found = re.search(rf"^ACL SETUSER {user} (.*)$", DOCS.read_text(), re.MULTILINE)
    assert found, f"no line for {user}"
    return found[1].replace("PASSWORD", "secret").split()


def granted(user: str) -> set[str]:
    """The commands that the docs grant to a user."""
    return {word[1:] for word in line(user) if word.startswith("+")}


@pytest.fixture
def server(binary: Binary) -> Iterator[Server]:
    """A server with the users of the docs."""
    with Server(binary, appendonly="no") as server:
        for user in ("runnel", "runnel-sender", "runnel-viewer"):
            ask(server, "ACL SETUSER", user, *line(user))
        ask(server, "CONFIG RESETSTAT")
        ask(server, "ACL LOG", "RESET")
        yield server


def url(server: Server, user: str) -> str:
    return server.url.replace("://", f"://{user}:secret@")


class Item(Record):
    key: str
    number: int


def declare(name: str, url: str, **settings: Any) -> App:
    settings = {
        "rebalance_delay": 0.0,
        "backoff": 0.001,
        "retries": 0,
        "delivery_timeout": 0.0,
        **settings,
    }
    app = App(name, redis_url=url, partition_count=1, **settings)
    items = app.stream("items", record=Item, partition_by="key")
    last = app.table("last", items, value=int, processor="pause")

    @app.processor(
        items, exception_policy=ExceptionPolicy.IGNORE, middleware=[DeadLetterMiddleware()]
    )
    async def ignore(events: Events[Item]) -> None:
        async for item in events.records():
            assert item.number != 1

    @app.processor(items, exception_policy=ExceptionPolicy.QUARANTINE)
    async def pause(events: Events[Item]) -> None:
        async for item in events.records():
            last[item.key] = item.number
            assert item.number != 2

    @app.timer(interval=3600, on_leader=True)
    async def sweep() -> None: ...

    return app


async def test_a_user_with_the_permissions_in_the_docs_can_do_all_and_needs_each(
    server: Server, app_name: str
) -> None:
    called = scripted(*sources())
    assert called <= granted("runnel")
    app = declare(app_name, url(server, "runnel"))
    stream, pause = app.streams["items"], app.processors["pause"]
    async with connect(app.settings.redis_url) as client:
        scripts = Scripts(client)
        assert (await check_server(client, app.settings.redis_url)).warnings == ()
        sent = await stream.send(*(Item(key="k", number=number) for number in range(5)))
        with pytest.raises(BurstBlocked):
            await Worker(app).run(burst=True)
        assert (await skip(scripts, pause, 0)).event == sent[2].id
        assert await admin.resume(scripts, pause, [0]) == 1
        await Worker(app).run(burst=True)
        assert await admin.pause(scripts, pause) == 1
        await admin.reset(scripts, pause, sent[3].id)
        info = await check_server(client, app.settings.redis_url)
        assert (await verify(scripts, app_name))["is_this_version"]
        seen = await inspection.inspect(client, info)
        assert {each["name"] for each in seen["processors"]} == {"ignore", "pause"}
        assert await stream.send(Item(key="k", number=5), dedupe="five") == await stream.send(
            Item(key="k", number=5), dedupe="five"
        )
        last = app.tables["last"]
        assert await last.read("k") == 4
        parts = await parts_of(scripts, last)
        assert (parts[0].keys, bool(parts[0].bytes)) == (1, True)
        assert [page async for page in export(scripts, last)] == [(0, [(b"k", b"4")])]
        assert await clear(scripts, last, parts) == 1
        for processor in app.processors.values():
            await remove(scripts, processor)
        assert await admin.delete_stream(scripts, stream.spec) == 6
    await app.close()
    assert refusals(server) == []
    assert granted("runnel") - called - ran(server) - ON_A_CLUSTER <= SELDOM


def scripted(*names: str) -> set[str]:
    """The commands that scripts call, as the ACL names them."""
    found = set()
    for name in names:
        source = sources()[name].decode()
        for words in re.findall(r"redis\.p?call\('([A-Z]+)'(?:, '([A-Z]+)')?", source):
            found.add("|".join(filter(None, words)).lower())
    return found


def ran(server: Server) -> set[str]:
    """The commands that have run, those inside scripts too."""
    stats = str(ask(server, "INFO", "commandstats"))
    return set(re.findall(r"^cmdstat_([^:]+):calls=[1-9]", stats, re.MULTILINE))


def refusals(server: Server) -> list[object]:
    """What the server has refused since its log was reset."""
    return list(ask(server, "ACL LOG"))


async def declared(server: Server, name: str) -> None:
    """Let the stream be there, with a processor."""
    app = declare(name, server.url)
    async with connect(server.url) as client:
        for processor in app.processors.values():
            await announce_processor(Scripts(client), processor)
            await admin.add(Scripts(client), processor)


def test_the_user_for_everything_may_do_what_the_roles_may() -> None:
    roles = [rule(role, None, cluster=True).commands for role in ROLES]
    assert granted("runnel") == {command for commands in roles for command in commands}
    assert granted("runnel-sender") < {*rule("producer", None).commands}
    assert granted("runnel-viewer") < {*rule("viewer", None).commands}


async def test_a_worker_with_the_rule_of_its_role_needs_each_command(
    server: Server, app_name: str
) -> None:
    made = rule("worker", app_name)
    ask(server, *made.text().replace("PASSWORD", "secret").split())
    app = declare(app_name, url(server, made.user))
    stream, pause = app.streams["items"], app.processors["pause"]
    sent = await stream.send(*(Item(key="k", number=number) for number in range(3)))
    with pytest.raises(BurstBlocked):
        await Worker(app).run(burst=True)
    async with connect(server.url) as client:
        assert (await skip(Scripts(client), pause, 0)).event == sent[2].id
        assert await admin.resume(Scripts(client), pause, [0]) == 1
    (receipt,) = await stream.send(Item(key="k", number=4), delay=60)
    assert await stream.cancel(receipt)
    await Worker(app).run(burst=True)
    assert await app.tables["last"].read("k") == 1
    await app.close()
    assert refusals(server) == []
    calls = {call.script for part in required("worker", app_name) for call in part.calls}
    assert set(made.commands) - scripted(*calls) - ran(server) <= SELDOM


async def test_a_sender_can_send_and_not_more(server: Server, app_name: str) -> None:
    await declared(server, app_name)
    app = declare(app_name, url(server, "runnel-sender"))
    await app.streams["items"].send(Item(key="k", number=5))
    await app.close()
    assert refusals(server) == []
    async with connect(url(server, "runnel-sender")) as client:
        with pytest.raises(NoPermissionError):
            await client.unlink(keys.log(keys.partition(app_name, "items", 0, "items")))
    needed = scripted("declare", "append", "promote")
    assert granted("runnel-sender") == {*needed, "evalsha", "script|load"}


async def test_a_sender_can_send_numbers_and_needs_more_for_natural_keys(
    server: Server, app_name: str
) -> None:
    (more,) = re.findall(r"For `send\(dedupe=…\)` add `([^`]*)`", DOCS.read_text())
    await declared(server, app_name)
    app = declare(app_name, url(server, "runnel-sender"))
    stream, producer = app.streams["items"], app.producer(id="till")
    assert await producer.send(stream, Item(key="k", number=5), number=5) != [None]
    assert await producer.last(stream) == 5
    assert refusals(server) == []
    with pytest.raises(ResponseError):  # In a script.
        await stream.send(Item(key="k", number=6), dedupe="six")
    ask(server, "ACL SETUSER", "runnel-sender", *more.split())
    ask(server, "ACL LOG", "RESET")
    await stream.send(Item(key="k", number=6), dedupe="six")
    assert len(await stream.send(Item(key="k", number=6), dedupe="six")) == 1
    assert ask(server, "XLEN", keys.log(stream.spec.prefix(0))) == 2
    await app.close()
    assert refusals(server) == []
    commands = {each.removeprefix("+") for each in more.split()}
    assert granted("runnel-sender") | commands >= scripted("append_numbered", "append_once")
    assert commands == scripted("append_once") - granted("runnel-sender")


async def test_a_sender_needs_more_to_send_for_later(server: Server, app_name: str) -> None:
    (more,) = re.findall(r"`send\(at=…\)` and `cancel` add `([^`]*)`", DOCS.read_text())
    await declared(server, app_name)
    app = declare(app_name, url(server, "runnel-sender"))
    stream = app.streams["items"]
    with pytest.raises(ResponseError):  # In a script.
        await stream.send(Item(key="k", number=6), delay=0)
    ask(server, "ACL SETUSER", "runnel-sender", *more.split())
    ask(server, "ACL LOG", "RESET")
    await stream.send(Item(key="k", number=6), delay=0)
    await stream.send(Item(key="k", number=7))
    (receipt,) = await stream.send(Item(key="k", number=8), delay=60)
    assert await stream.cancel(receipt)
    assert ask(server, "XLEN", keys.log(stream.spec.prefix(0))) == 2
    await app.close()
    assert refusals(server) == []
    commands = {each.removeprefix("+") for each in more.split() if each[0] == "+"}
    assert commands == scripted("append_later", "cancel") - granted("runnel-sender")


async def test_the_permissions_for_more_durability_are_those_that_the_docs_add(
    server: Server, app_name: str
) -> None:
    (more,) = re.findall(r'`durability="replica"` add `([^`]*)`', DOCS.read_text())
    await declared(server, app_name)
    app = declare(app_name, url(server, "runnel-sender"), durability="replica")
    with pytest.raises(NoPermissionError):
        await app.streams["items"].send(Item(key="k", number=5))
    ask(server, "ACL SETUSER", "runnel-sender", *more.split())
    ask(server, "ACL LOG", "RESET")
    with pytest.raises(TimeoutError, match="no replica"):
        await app.streams["items"].send(Item(key="k", number=6))
    await app.close()
    assert refusals(server) == []


async def test_a_viewer_can_inspect_and_not_more(server: Server, app_name: str) -> None:
    await declared(server, app_name)
    viewer = url(server, "runnel-viewer")
    async with connect(viewer) as client:
        seen = await inspection.inspect(client, await check_server(client, viewer), app_name)
        assert [each["name"] for each in seen["streams"]] == ["items"]
        assert (await inspection.inspect(client, await check_server(client, viewer)))["streams"]
        assert refusals(server) == []
        with pytest.raises(NoPermissionError):
            await client.hset(keys.streams(app_name), "items", "1 items")
        assert (await verify(Scripts(client), app_name))["is_this_version"]
        assert refusals(server)[1:] == []  # The first one is above.
    asked = {"evalsha", "script|load", "script|exists", "info", "smembers", "hgetall", "time"}
    assert granted("runnel-viewer") == {*scripted("describe", "describe_group"), *asked}


async def test_a_viewer_with_two_more_commands_can_look_at_events(
    server: Server, app_name: str
) -> None:
    await declared(server, app_name)
    viewer = url(server, "runnel-viewer")
    app = declare(app_name, server.url)
    await app.streams["items"].send(Item(key="k", number=5), Item(key="k", number=6))
    await app.close()
    spec = app.streams["items"].spec
    async with connect(viewer) as client:
        scripts = Scripts(client)
        for follow, command in ((False, "xrevrange"), (True, "xread")):
            with pytest.raises(ServerError, match=f"ACL SETUSER runnel-viewer \\+{command}$"):
                await check_reader(scripts, spec, follow, viewer)
            assert f"`+{command}`" in DOCS.read_text()
            ask(server, "ACL SETUSER", "runnel-viewer", f"+{command}")
            await check_reader(scripts, spec, follow, viewer)
        ends = {0: "0-0"}
        ranges = {0: ("-", "+")}
        async with aclosing(merged(scripts.deployment, spec, ranges, True)) as events:
            (newest, *_) = [each.id async for each in events]
        async with aclosing(follow_log(scripts, spec, ends, viewer)) as events:
            while (await anext(events)).id != newest:
                pass
    assert refusals(server) == []


async def test_the_permissions_are_enough_in_a_cluster(fleet: ClusterFleet, app_name: str) -> None:
    for server in fleet.servers:
        ask(server, "ACL SETUSER", "runnel", *line("runnel"))
        ask(server, "ACL LOG", "RESET")
    partitions = spread(app_name)
    home = fleet.owner(slot(partitions[0]))
    full = fleet.url.replace("://", "://runnel:secret@")
    async with connect(full) as client:
        assert (await check_server(client, full)).warnings == ()
        scripts = Scripts(client)
        await scripts.load()
        assert len(await scripts.call_all([append(each, 1) for each in partitions])) == 3
        migration = Migration(fleet, slot(partitions[0]), fleet.masters[1])
        migration.begin()
        migration.move()
        assert protocol.read_append(await scripts.call(append(partitions[0], 2))).applied
        migration.end()
    await asyncio.to_thread(fleet.migrate, slot(partitions[0]), home)
    assert [refusals(server) for server in fleet.servers] == [[]] * len(fleet.servers)
    for server in fleet.servers:
        ask(server, "ACL DELUSER", "runnel")


async def test_the_login_of_a_url_is_that_of_the_primary_and_sentinels_may_have_their_own(
    sentinels: SentinelFleet, app_name: str
) -> None:
    ask(sentinels.current(), "ACL SETUSER", "runnel", *line("runnel"))
    for sentinel in sentinels.sentinels:
        ask(sentinel, "ACL SETUSER", "asker", "on", ">open", "+sentinel|masters")
    base = sentinels.url.replace("://", "://runnel:secret@")
    logins = ["", "?sentinel_username=asker&sentinel_password=open"]
    for partition, login in zip(spread(app_name), logins, strict=False):
        async with connect(base + login) as client:
            assert (await check_server(client, base + login)).warnings == ()
            assert protocol.read_append(await Scripts(client).call(append(partition, 1))).applied
    wrong = f"{base}?sentinel_username=asker&sentinel_password=closed"
    async with connect(wrong) as client:
        with pytest.raises(ServerError, match=r"refuses the login.*sentinel_password") as refused:
            await check_server(client, wrong)
    assert "closed" not in str(refused.value)
    assert "secret" not in str(refused.value)
