"""A missing command, on a server or behind a proxy, is named when a worker or a sender starts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from runnel import App, Events, Record
from runnel.connection.connect import connect
from runnel.errors import ServerError, ServerUnreachable
from runnel.preflight.checks import check_sender
from runnel.preflight.server import check_server
from runnel.protocol.scripts import Scripts
from runnel.worker.worker import Worker
from tests.servers import Server

#: These tests start their own servers.
pytestmark = pytest.mark.only_on("server")


class Item(Record):
    key: str


def declare(url: str) -> App:
    """An app with one stream and one processor."""
    app = App("restricted", redis_url=url, rebalance_delay=0.0)
    stream = app.stream("items", record=Item, partition_by="key", partition_count=2)

    @app.processor(stream)
    async def reader(events: Events[Item]) -> None:
        async for _ in events.records():
            pass

    return app


@contextmanager
def server_without(command: str) -> Iterator[Server]:
    """A server on which this command was renamed away."""
    with Server(rename_command=f"{command} ") as server:
        yield server


async def refusal_of_worker(url: str) -> str:
    """The error of a worker that does not start."""
    with pytest.raises(ServerError) as caught:
        await Worker(declare(url)).run(burst=True)
    return str(caught.value)


async def refusal_of_sender(url: str) -> str:
    """The error of the preflight check of a sender."""
    spec = declare(url).streams["items"].spec
    async with connect(url) as client:
        with pytest.raises(ServerError) as caught:
            await check_sender(Scripts(client), spec, "primary", url)
    return str(caught.value)


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


@pytest.mark.parametrize("command", ["SCRIPT", "EVALSHA", "XGROUP", "HSET", "XINFO"])
async def test_a_command_that_both_need_is_named_to_workers_and_senders(command: str) -> None:
    with server_without(command) as server:
        for message in (await refusal_of_worker(server.url), await refusal_of_sender(server.url)):
            assert f"Redis at {server.url} has no " in message
            assert command in message.partition(", without which ")[0]
            assert "renamed or disabled there, or a proxy in between does not pass it on" in message
            assert (
                len(message) < 500
            )  # The source of the script, which the server repeats, is left out.
        with server.client() as client:
            assert client.dbsize() == 0


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


async def test_without_info_the_version_of_a_server_is_unknown() -> None:
    with server_without("INFO") as server:
        async with connect(server.url) as client:
            info = await check_server(client, server.url)
            assert (info.kind, info.version, info.mode) == ("redis", None, "standalone")
            (warning,) = info.warnings
    assert "has no INFO" in warning


@asynccontextmanager
async def proxy(url: str, refused: dict[bytes, bytes | None]) -> AsyncIterator[str]:
    """A proxy that answers some commands itself, or closes the connection on them (None)."""
    target = urlsplit(url)
    serving: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            serving.add(task)
        there, back = await asyncio.open_connection(target.hostname, target.port)
        try:
            while request := await reader.read(1_000_000):
                words = request.upper().split(b"\r\n")
                found = [answer for word, answer in refused.items() if word in words]
                if found and found[0] is None:
                    return
                if found:
                    writer.write(found[0] or b"")
                    continue
                back.write(request)
                writer.write(await there.read(1_000_000))
        finally:
            writer.close()
            back.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        if serving:  # All clients have closed their connections.
            await asyncio.wait(serving)


async def test_a_proxy_that_hangs_up_on_info_is_named(server: Server) -> None:
    async with proxy(server.url, {b"INFO": None}) as url:
        message = await refusal_of_worker(url)
    assert f"Redis at {url} answers PING and hangs up on INFO, as a proxy such as" in message


async def test_an_address_that_hangs_up_on_everything_counts_as_unreachable(server: Server) -> None:
    async with proxy(server.url, {b"INFO": None, b"PING": None}) as url, connect(url) as client:
        with pytest.raises(ServerUnreachable):
            await check_server(client, url)


@pytest.mark.parametrize(
    "answer",
    [b"-ERR unsupported command\r\n", b"-invalid request\r\n", b"-ERR unknown command\r\n"],
)
async def test_a_proxy_that_knows_no_scripts_is_named(server: Server, answer: bytes) -> None:
    refused: dict[bytes, bytes | None] = dict.fromkeys((b"INFO", b"EVALSHA", b"SCRIPT"), answer)
    async with proxy(server.url, refused) as url:
        for message in (await refusal_of_worker(url), await refusal_of_sender(url)):
            assert f"Redis at {url} has no EVALSHA, SCRIPT LOAD, without which " in message


async def loading_server(keys: int) -> Server:
    """A server that has begun to load its data, 1 ms a key."""
    server = Server(appendonly="no").start()
    with server.client() as client:
        client.mset({f"key{number}": "value" for number in range(keys)})
        client.save()
    server.kill()
    # It serves its clients after every 1,024 bytes of the file.
    server.options.update(key_load_delay="1000", loading_process_events_interval_bytes="1024")
    server.start(wait=False)
    await asyncio.to_thread(server.wait_until_it_listens)
    return server


async def test_a_worker_waits_for_a_server_that_loads_its_data_and_logs_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with await loading_server(1000) as server, caplog.at_level(logging.WARNING, "runnel"):
        await Worker(declare(server.url)).run(burst=True)
    message = [each.getMessage() for each in caplog.records if "load" in each.getMessage()]
    assert message[0].startswith(f"Redis at {server.url} is loading its data, waiting: ")
    assert message[-1].startswith(f"Redis at {server.url} has loaded its data, after ")
    assert len(message) == 2


async def test_a_worker_that_waits_for_a_server_can_be_stopped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with await loading_server(100_000) as server:
        worker = Worker(declare(server.url))
        running = asyncio.create_task(worker.run())
        for _ in range(2000):
            if "is loading its data" in caplog.text:
                break
            await asyncio.sleep(0.01)
        worker.stop.set()
        async with asyncio.timeout(20):
            await running
