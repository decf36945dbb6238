"""`runnel lua`: the scripts are listed and shown, a Redis is compared, and each role's rule is
enough for the commands of that role."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator

import pytest
from redis import Redis as SyncRedis

from runnel import keys
from runnel.embedded.binary import find_binary
from runnel.preflight.roles import ROLES, rule
from runnel.protocol.scripts import folder, sources, version
from tests.cli.commands import APP, COUNTER, ORDERS, PRINTER, TOTALS, one_sentence
from tests.cli.conftest import GOOD, Run
from tests.servers import Server

TABLES = "tests.cli.shop_tables:app"


def test_the_scripts_are_listed(run: Run) -> None:
    lines = run("lua", "list").stdout.splitlines()
    assert lines[0] == f"script set {version()} · protocol 1 · {len(sources())} scripts"
    commit = next(line for line in lines if line.startswith("commit "))
    sha1 = hashlib.sha1((folder() / "commit.lua").read_bytes()).hexdigest()
    assert commit.split()[1:4] == [sha1, "partition", "yes"]
    found = json.loads(run("lua", "list", "--json").stdout)
    assert (found["script_set"], found["protocol"]) == (version(), 1)
    assert {each["name"] for each in found["scripts"]} == set(sources())


def test_a_script_is_shown_to_the_byte(run: Run) -> None:
    assert run("lua", "show", "commit").stdout.encode() == sources()["commit"]
    assert run("lua", "show", "sync.lua").stdout.encode() == sources()["sync"]
    found = json.loads(run("lua", "show", "pause", "--json").stdout)
    assert (found["name"], found["commands"]) == ("pause", ["HMGET", "HSET", "TIME"])
    unknown = run("lua", "show", "comit")
    assert unknown.code == 6
    assert "there is no script 'comit'; did you mean 'commit'?" in one_sentence(unknown.stderr)
    assert "; there is acknowledge, append, append_later" in run("lua", "show", "zzz").stderr


def test_what_a_redis_has_is_compared(run: Run, admin: SyncRedis) -> None:
    run("worker", APP, "--burst", "--processors", "printer")
    done = run("lua", "verify", APP)
    assert done.code == 0
    assert f" {len(sources())} of {len(sources())} are loaded; " in done.stdout
    assert re.search(r"^shop/orders +1 +ok$", done.stdout, re.MULTILINE)
    admin.script_flush()
    assert f" 0 of {len(sources())} are loaded; 0 scripts" in run("lua", "verify").stdout
    admin.hset(keys.meta(keys.partition("shop", "orders", 3, "orders")), "protocol", "2")
    newer = run("lua", "verify", "--app", "shop")
    assert (newer.code, one_sentence(newer.stderr)) == (
        4,
        "error: Redis or its workers have another version, see above\n",
    )
    assert "newer than this installation" in newer.stdout
    assert json.loads(run("lua", "verify", "--json").stdout)["is_this_version"] is False
    assert (
        "there is no app 'nobody' here; there is " in run("lua", "verify", "--app", "nobody").stderr
    )
    assert run("lua", "verify", url=None).code == 2


def test_the_rules_are_printed_with_their_roles(run: Run) -> None:
    done = run("lua", "acl", "--app", "shop")
    assert [line for line in done.stdout.splitlines() if line.startswith("ACL ")] == [
        rule(role, "shop").text() for role in ROLES
    ]
    assert run("lua", "acl", APP).stdout == done.stdout
    assert f"# viewer: {ROLES['viewer']}\n" in done.stdout
    cut = ["--role", "worker", "--user", "w", "--durability", "replica", "--cluster", "--json"]
    (found,) = json.loads(run("lua", "acl", *cut).stdout)["rules"]
    assert found["rule"] == rule("worker", None, "w", "replica", cluster=True).text()
    assert (found["role"], found["user"], found["keys"]) == ("worker", "w", ["runnel:*"])
    for wrong in (["--user", "w"], ["--role", "cook"], ["--app", "x", APP], ["--app", "a b"]):
        assert run("lua", "acl", *wrong).code == 2
    assert run("lua", "acl", "--role", "viewer", "--user", "a b").code == 2


@pytest.fixture(scope="module")
def strict() -> Iterator[Server]:
    """A server with a user for each role of the app `shop`."""
    with Server(find_binary(), appendonly="no") as server, SyncRedis.from_url(server.url) as owner:
        for role in ROLES:
            owner.execute_command(*rule(role, "shop").text().replace("PASSWORD", "pw").split())
        yield server


As = Callable[..., str]


@pytest.fixture
def run_as(run: Run, strict: Server) -> Iterator[As]:
    """Runs a command as the user of a role, which must succeed. No command may be refused."""
    with SyncRedis.from_url(strict.url) as owner:
        owner.flushall()
        owner.acl_log_reset()

        def command(role: str, *arguments: str, code: int = 0) -> str:
            url = strict.url.replace("://", f"://shop-{role}:pw@")
            done = run(*arguments, url=url)
            assert done.code == code, done.stderr
            return done.stdout

        yield command
        refused = {(each["username"], each["object"]) for each in owner.acl_log()}
        # `runnel send` asks for the version of the server, and does without it.
        assert refused <= {("shop-producer", "info")}


VISIT = '{"name": "ann", "seconds": 5}'


def test_each_role_does_its_work_under_its_rule(run_as: As) -> None:
    visits = "tests.cli.shop_tables:visits"
    run_as("worker", "worker", TABLES, "--burst")
    for options in ([], ["--delay", "0"], ["--delay", "2h"]):
        run_as("producer", "send", visits, VISIT, *options)
    run_as("producer", "send", ORDERS, GOOD)
    run_as("worker", "worker", TABLES, "--burst")
    assert "10" in run_as("viewer", "table", "get", TOTALS, "ann")
    for looks in (
        ["inspect", TABLES],
        ["inspect", "--app", "shop"],
        ["tail", visits],
        ["tail", visits, "--key", "ann", "--json"],
        ["partition", visits, "ann"],
        ["stream", "list", TABLES],
        ["stream", "show", visits],
        ["table", "list", TABLES],
        ["table", "export", TOTALS],
        ["table", "snapshots", COUNTER],
        ["dead", "list", COUNTER],
        ["delayed", "list", visits],
        ["lua", "verify", TABLES],
    ):
        run_as("viewer", *looks)
        run_as("operator", *looks)
    for acts in (
        ["stream", "create", ORDERS],
        ["processor", "add", PRINTER],
        ["processor", "pause", COUNTER],
        ["processor", "resume", COUNTER],
        ["table", "snapshot", COUNTER, "monday"],
        ["table", "restore", COUNTER, "monday", "--execute"],
        ["table", "delete-snapshot", COUNTER, "monday", "--execute"],
        ["processor", "reset", COUNTER, "--start", "earliest", "--tables", "clear", "--execute"],
        ["table", "clear", TOTALS, "--execute"],
        ["stream", "trim", visits, "--to-size", "1", "--drop-unprocessed", "--execute"],
        ["processor", "remove", PRINTER, "--yes"],
        ["processor", "remove", COUNTER, "--yes"],
        ["stream", "delete", visits, "--yes"],
    ):
        run_as("operator", *acts)


def test_a_viewer_cannot_act_and_a_producer_cannot_look(run: Run, strict: Server) -> None:
    url = strict.url.replace("://", "://shop-{}:pw@")
    run("processor", "add", COUNTER, url=url.format("operator"))
    refused = run("processor", "pause", COUNTER, url=url.format("viewer"))
    assert refused.code == 3
    assert "does not let its user shop-viewer " in one_sentence(refused.stderr)
    assert run("inspect", TABLES, url=url.format("producer")).code == 3
    worker = run("worker", TABLES, "--burst", url=url.format("producer"))
    assert worker.code == 3
    assert "ACL SETUSER shop-producer " in worker.stderr
