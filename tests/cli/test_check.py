"""`runnel check`: one line and an exit code."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from runnel import App, Record, Worker
from runnel.cli.inspector import Inspector
from runnel.operations.group_members import groups_of
from runnel.protocol.scripts import Scripts
from tests.cli.conftest import Run
from tests.worker.workers import until


class Order(Record):
    id: int


def declared(url: str) -> App:
    app = App("shop", redis_url=url, retries=0)
    orders = app.stream("orders", record=Order, partition_by="id", partition_count=2)

    @app.on(orders)
    async def billing(order: Order) -> None:
        raise ValueError("no such customer | nor any other")

    return app


@pytest.mark.parametrize("chosen", [[], ["--app", "shop"]])
async def test_it_says_in_a_line_that_all_is_well_or_why_not(
    redis: Redis, redis_url: str, run: Run, chosen: list[str]
) -> None:
    app = declared(redis_url)

    async def check(*arguments: str) -> tuple[int, str, str]:
        done = await asyncio.to_thread(run, "check", *chosen, *arguments)
        return done.code, done.stdout, done.stderr

    async with Worker(app, name="billing-1") as worker:
        await until(lambda: worker.health().ready, "it is ready")
        assert await check() == (0, "ok: 1 processor, lag 0, 1 worker\n", "")
        figures = "lag=0 dead_letters=0 parked=0 members=1"
        assert await check("--nagios") == (
            0,
            f"RUNNEL OK - 1 processor, lag 0, 1 worker | {figures}\n",
            "",
        )
        assert await check("--member", "billing-1") == (
            0,
            "ok: billing-1 is a member of shop/billing\n",
            "",
        )
        absent = "billing-2 is no live member of shop/billing\n"
        assert await check("--member", "billing-2") == (12, "", absent)
        assert await groups_of(Scripts(redis), "billing-1", "shop") == {"shop/billing": True}
        await app.streams["orders"].send(Order(id=1))
        while (await check())[0] != 11:
            ...
        report = json.loads((await asyncio.to_thread(run, "inspect", "--json")).stdout)
        rows = report["processors"][0]["partitions"]
        (number,) = (row["id"] for row in rows if row["state"] == "quarantined")
        reason = f"shop/billing: partition {number} is quarantined"
        reason += f" (runnel inspect shop/billing {number})"
        wrong = f"{reason}\n"
        see = "see docs/runbooks.md#a-partition-is-quarantined\n"
        assert await check() == (11, "", f"{wrong}{see}")
        but = f"ok, but: {reason} (1 processor, lag 1, 1 worker)\n"
        assert await check("--fail-on", "paused") == (0, but, see)
        code, said, _ = await check("--fail-on", "paused", "--max-lag", "0", "--nagios")
        assert (code, said) == (
            1,
            "RUNNEL WARNING - shop/billing: lag is 1, allowed 0 | lag=1 dead_letters=0 parked=0 "
            "members=1\n",
        )
        assert (await check("--nagios"))[0] == 2
        # A probe of the worker does not look at partitions.
        assert (await check("--member", "billing-1"))[0] == 0
    code, _, said = await check("--fail-on", "quarantined")
    see = "see docs/runbooks.md#no-worker-runs, #a-partition-is-quarantined\n"
    assert (code, said) == (12, f"{wrong}shop/billing: 0 live members, wanted 1\n{see}")
    await app.close()


def test_without_redis_an_alarm_is_critical_and_a_wrong_name_unknown(
    redis: Redis, redis_url: str, run: Run
) -> None:
    nobody = run("check", "--redis-url", "redis://127.0.0.1:1", "--nagios")
    assert (nobody.code, nobody.stdout[:39]) == (2, "RUNNEL CRITICAL - error: No Redis at re")
    unknown = run("check", "--app", "shop", "--nagios")
    assert unknown.code == 3
    assert unknown.stdout.startswith("RUNNEL UNKNOWN - error: there is no app 'shop'")


@pytest.mark.parametrize("command", ["check", "inspect"])
@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise SystemExit(10)", "importing broken ended with sys.exit(10)"),
        ("raise SystemExit(0)", "importing broken ended with sys.exit(0)"),
        ("raise ValueError('none | such')", "importing broken failed"),
        ("import asyncio; raise asyncio.CancelledError", "ended with CancelledError"),
        ("raise GeneratorExit", "importing broken ended with GeneratorExit"),
        ("import nowhere", "No module named 'nowhere'"),
        ("other = 1", "broken has no attribute 'app'"),
    ],
)
def test_an_app_that_cannot_be_imported_has_its_own_code_and_is_unknown_to_nagios(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, code: str, says: str
) -> None:
    (tmp_path / "broken.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    for arguments in ([], ["--nagios"]):
        monkeypatch.delitem(sys.modules, "broken", raising=False)
        done = run(command, "broken:app", *arguments)
        assert says in done.stderr
        if not arguments:
            assert (done.code, done.stdout) == (2, "")
            continue
        assert done.code == 3
        assert done.stdout.startswith("RUNNEL UNKNOWN - error: ")
        assert says in done.stdout
        assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--redis-url", "reds://h"], "--redis-url: redis_url 'reds://h'"),
        (["--max-lag", "many"], "'many' is not a valid integer"),
        (["shop:app", "--app", "shop"], "give a TARGET or --app, not both"),
        (["--no-such"], "No such option"),
    ],
)
def test_wrong_options_are_unknown_to_nagios(run: Run, arguments: list[str], says: str) -> None:
    assert run("check", *arguments).code == 2
    done = run("check", *arguments, "--nagios")
    assert done.code == 3
    assert done.stdout.startswith("RUNNEL UNKNOWN - error: ")
    assert says in done.stdout
    assert run("check", "--nagios", "--help").code == 0
    assert run("check", "--nagios", url="reds://h").stdout.startswith("RUNNEL UNKNOWN - error: ")


def test_a_fault_of_the_check_itself_is_unknown_to_nagios(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Inspector, "inspect", broken)
    done = run("check", "--nagios")
    assert (done.code, done.stdout) == (
        3,
        "RUNNEL UNKNOWN - error: ZeroDivisionError, see stderr\n",
    )
    assert "Traceback" in done.stderr


def test_nothing_registered_is_not_well(redis: Redis, redis_url: str, run: Run) -> None:
    done = run("check")
    start = "`runnel worker MODULE:APP` registers those of an app"
    assert (done.code, done.stderr) == (12, f"no processor is registered: {start}\n")
    at = run("check", "--redis-url", redis_url, url=None).stderr
    assert f"`runnel worker MODULE:APP --redis-url {redis_url}`" in at
