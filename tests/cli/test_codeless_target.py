"""Commands name a processor without Python code by APP/STREAM@PROCESSOR."""

from __future__ import annotations

import json

import pytest
from redis import Redis as SyncRedis

from runnel import keys
from runnel.cli import codeless_target
from tests.cli.commands import ORDERS, PRINTER, one_sentence
from tests.cli.conftest import GOOD, Run
from tests.sidecars import shell

TARGET = "shop/orders@printer"


@pytest.mark.parametrize(
    ("text", "does"),
    [
        (TARGET, True),
        ("a.b/c-d@e_f", True),
        ("shop:orders", False),
        ("shop:a/b@c", False),
        ("orders@printer", False),
        ("shop/orders", False),
        ("/orders@printer", False),
    ],
)
def test_the_form_of_such_a_target(text: str, does: bool) -> None:
    assert codeless_target.matches(text) is does


def test_a_processor_is_administered_without_its_code(run: Run) -> None:
    run("send", ORDERS, GOOD)
    assert run("processor", "add", TARGET).code == 0
    assert run("processor", "pause", TARGET).stdout == "paused 4 partitions of printer\n"
    assert run("processor", "resume", PRINTER).stdout == "resumed 4 partitions of printer\n"
    done = run("processor", "reset", TARGET, "--start", "latest", "--execute")
    assert done.code == 0, done.stderr
    seen = json.loads(run("inspect", "--app", "shop", "--json").stdout)
    (processor,) = (each for each in seen["processors"] if each["name"] == "printer")
    assert processor["lag_events"] == 0
    unknown = run("processor", "pause", "shop/order@printer")
    assert unknown.code == 2
    assert "has no stream 'order'; its streams are" in one_sentence(unknown.stderr)
    wrong = run("processor", "pause", "a b/order@printer")
    assert "app name 'a b' is not usable" in one_sentence(wrong.stderr)
    # It keeps no dead letters, as nobody has declared their stream.
    assert "keeps no dead letters" in run("processor", "dead-letters", TARGET).stderr


@pytest.mark.parametrize(
    "command",
    [
        ["dead", "list"],
        ["dead", "show"],
        ["dead", "replay"],
        ["dead", "drop"],
        ["processor", "pause"],
        ["processor", "resume"],
        ["processor", "acknowledge"],
        ["processor", "reset", "--start", "earliest"],
        ["processor", "dead-letters"],
        ["table", "snapshots"],
    ],
)
def test_a_misspelt_processor_is_no_processor_with_nothing_set_aside(
    run: Run, command: list[str]
) -> None:
    run("processor", "add", PRINTER)
    done = run(*command, "shop/orders@printr")
    assert (done.code, done.stdout) == (2, "")
    hint = "app 'shop' has no processor 'orders@printr'; did you mean 'printer'?"
    assert hint in one_sentence(done.stderr)


def test_a_processor_is_known_without_the_registry_and_by_its_dead_letters(
    run: Run, admin: SyncRedis
) -> None:
    run("processor", "add", PRINTER)
    # A full server refuses the writes of the registry, and the worker starts all the same.
    admin.delete(keys.processors("shop"))
    assert run("dead", "list", TARGET).code == 0
    run("stream", "create", "--app", "shop", "--stream", "orders.gone.dead", "--partitions", "4")
    assert run("dead", "list", "shop/orders@gone").code == 0
    assert run("processor", "remove", "shop/orders@gone", "--yes").code == 0


def test_an_event_that_failed_in_a_sidecar_is_skipped_shown_and_replayed(
    run: Run, spawn: Run
) -> None:
    run("send", ORDERS, GOOD)
    fails, works = (
        f"sh -c '{shell(body)[2]}'"
        for body in ('echo "{\\"id\\":$id,\\"result\\":\\"retry\\"}"',) * 1
        + ('echo "{\\"id\\":$id,\\"result\\":\\"ok\\"}"',)
    )
    names = ("--app", "shop", "--stream", "orders", "--processor", "side", "--burst")
    failed = spawn("worker", "--exec", fails, *names, "--retries", "0")
    assert failed.code == 11
    assert "runnel processor resume shop/orders@side --partition" in failed.stderr
    target = "shop/orders@side"
    skipped = run("processor", "resume", target, "--skip", "--yes")
    assert '"amount": 99' in skipped.stdout
    assert "kept as a dead letter in orders.side.dead" in skipped.stdout
    (letter,) = run("dead", "list", target, "--json").stdout.splitlines()
    assert json.loads(letter)["record"]["amount"] == 99
    assert run("dead", "replay", target, "--execute").code == 0
    assert spawn("worker", "--exec", works, *names).code == 0
    assert run("dead", "list", target, "--json").stdout == ""
