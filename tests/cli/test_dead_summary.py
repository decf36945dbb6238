"""The end of `runnel dead list` counts what is set aside, and names partitions that wait."""

from __future__ import annotations

import pytest
from redis import Redis as SyncRedis

from runnel.cli.dead_summary import Summary
from runnel.operations.dead import Item
from tests.cli.conftest import GOOD, Run


def item(kind: str, key: bytes, error: str) -> Item:
    return Item(kind, 0, "1-0", "1-0", key, 1 if error else 0, error, "x", [])


def test_what_is_set_aside_is_counted_by_kind_key_and_error() -> None:
    summary = Summary()
    assert summary.line() == "nothing is set aside"
    summary.add(item("parked", b"a", "ValueError"))
    assert summary.line() == "1 parked of 1 key · by error: 1 ValueError"
    for _ in range(53):
        summary.add(item("parked", b"a", ""))
    assert summary.line() == "54 parked of 1 key · by error: 1 ValueError"
    for number in range(8):
        summary.add(item("dead letter", b"b", f"E{number % 7}"))
    assert summary.line() == (
        "54 parked, 8 dead letters of 2 keys · "
        "by error: 2 E0, 1 ValueError, 1 E1, 1 E2, 1 E3, 3 other types"
    )


def test_a_quarantined_partition_is_named_with_the_command_that_shows_it(
    run: Run, spawn: Run
) -> None:
    strict = "tests.cli.shop:strict"
    partition = run("send", "tests.cli.shop:vessel", GOOD).stdout.split()[0]
    assert spawn("worker", "tests.cli.shop:app", "--processors", "strict", "--burst").code == 11
    nothing, waits = run("dead", "list", strict).stdout.splitlines()
    assert nothing == "nothing is set aside"
    assert waits == (
        f"partition {partition} is quarantined, and the failed event is not set aside: "
        f"`runnel inspect {strict} {partition}` shows it"
    )
    shown = run(*waits.split("`")[1].split()[1:])
    assert f"partition {partition} is quarantined" in shown.stdout, shown.stderr
    other = str((int(partition) + 1) % 2)
    assert run("dead", "list", strict, "--partition", other).stdout == "nothing is set aside\n"
    assert run("dead", "list", strict, "--json").stdout == ""


@pytest.mark.parametrize("chosen", [True, False], ids=["its partition", "all partitions"])
def test_a_user_who_may_not_see_every_partition_still_gets_the_list(
    run: Run, admin: SyncRedis, redis_url: str, chosen: bool
) -> None:
    strict, option = "tests.cli.shop:strict", ["--partition", "0"] if chosen else []
    assert run("processor", "add", strict).code == 0
    # Of the other partitions it may read what is set aside, and no more.
    keys = ("~runnel:{shop:vessel:0}:*", "%R~*:parked*", "%R~*:replay:*", "%R~*:postponed:*")
    may = ("on", ">pw", "+@all", *keys, "%R~*.dead:log")
    admin.execute_command("ACL", "SETUSER", "clerk", *may)  # type: ignore[no-untyped-call]
    try:
        url = redis_url.replace("redis://", "redis://clerk:pw@")
        done = run("dead", "list", strict, *option, url=url)
    finally:
        admin.execute_command("ACL", "DELUSER", "clerk")  # type: ignore[no-untyped-call]
    assert (done.code, done.stderr) == (0, "")
    nothing, *more = done.stdout.splitlines()
    assert nothing == "nothing is set aside"
    assert [each.partition(":")[0] for each in more] == (
        [] if chosen else ["it is unknown whether partitions are quarantined"]
    )
