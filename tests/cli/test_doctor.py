"""`runnel doctor`: settings with their sources, the server, and what could be better."""

from __future__ import annotations

import json

import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from tests.cli.commands import APP, ORDERS, PRINTER
from tests.cli.conftest import GOOD, Run
from tests.servers import Server


def test_it_shows_settings_with_their_sources(
    redis: Redis, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("doctor", APP, "--json")
    assert done.code == 0
    seen = json.loads(done.stdout)
    settings = {each["name"]: each for each in seen["settings"]}
    assert settings["retries"] == {"name": "retries", "value": 3, "source": "default"}
    assert len(settings) > 15
    assert {each["subject"] for each in seen["findings"]} >= {"server", "clock", "permissions"}
    text = run("doctor", APP).stdout
    assert "retries            3" in text
    for line in (
        "session_timeout    10 s ",
        "dedupe_window      86,400 s ",
        "prefetch_bytes     64 MB ",
        "max_record_bytes   1.05 MB ",
        "partition_size     50,000 ",
    ):
        assert line in text
    # Whatever is wrong has one fix, in a line of its own below it.
    lines = text.splitlines()
    assert all(
        lines[at + 1].startswith("      ") for at, each in enumerate(lines) if each[:2] == "!!"
    )
    assert "it is not registered: no worker has started" in text


def test_each_fix_is_a_command_to_the_server_that_was_looked_at(run: Run) -> None:
    with Server(maxmemory_policy="allkeys-lru", appendonly="no") as server:
        run("processor", "add", PRINTER, url=server.url)
        cli = f"redis-cli -h 127.0.0.1 -p {server.port}"
        text = run("doctor", APP, "--redis-url", server.url).stdout
        fixes = [line.strip() for line in text.splitlines() if line.startswith("      ")]
        commands = [fix.partition("   # ")[0] for fix in fixes]
        with SyncRedis.from_url(server.url) as admin:
            for command in commands:
                if command.startswith("runnel "):
                    assert command.endswith(f" --redis-url {server.url}")
                    continue
                assert command.startswith(f"{cli} CONFIG ")
                if not command.endswith("REWRITE"):  # This server has no file for it.
                    words = command.removeprefix(cli).split()
                    assert admin.execute_command(*words)
        assert {command.split()[0] for command in commands} == {"redis-cli", "runnel"}
        assert "CONFIG SET" not in run("doctor", "--redis-url", server.url).stdout


def test_a_password_is_not_shown(redis: Redis, redis_url: str, run: Run) -> None:
    secret = redis_url.replace("redis://", "redis://default:geheim@")
    for arguments in (["doctor", APP, "--redis-url", secret], ["doctor", "--redis-url", secret]):
        done = run(*arguments, "--json")
        assert "geheim" not in done.stdout + done.stderr


def test_without_a_target_it_looks_at_the_server_and_all_apps(redis: Redis, run: Run) -> None:
    assert run("send", ORDERS, GOOD).code == 0
    done = run("doctor")
    assert done.code == 0
    assert "SETTING" not in done.stdout


def test_a_worker_that_could_not_start_has_its_code_and_its_sentence(
    redis: Redis, redis_url: str, run: Run
) -> None:
    unreachable = run("doctor", "--redis-url", "redis://127.0.0.1:1")
    assert unreachable.code == 3
    assert "XX  error: No Redis at" in unreachable.stdout
    assert unreachable.stdout.endswith("a worker could not start\n")


async def test_another_contract_has_its_code(redis: Redis, run: Run) -> None:
    import asyncio

    assert (await asyncio.to_thread(run, "send", ORDERS, GOOD)).code == 0
    for key in await redis.keys("*:meta"):
        await redis.hset(key, "partitions", "99")
    done = await asyncio.to_thread(run, "doctor", APP)
    assert done.code == 4
