"""Bytes in Redis that are no text: whatever another program wrote, an operator sees the rest."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from redis import Redis as SyncRedis

from runnel import keys
from tests.cli.commands import APP, ORDERS, PRINTER
from tests.cli.conftest import GOOD, Run

#: The first bytes of a word in Latin-1.
BAD = b"caf\xc3"
PARTITION = keys.partition("shop", "orders", 0, "orders")


def in_state(name: str, value: bytes = BAD) -> Callable[[SyncRedis], object]:
    return lambda admin: admin.hset(keys.state(PARTITION, "printer"), name, value)


@pytest.mark.parametrize(
    "plant",
    [
        in_state("error_message"),
        in_state("error_type"),
        in_state("owner"),
        in_state("wait_for"),
        in_state("history", b"1 claimed 1 " + BAD),
        in_state("error_traceback"),
        lambda admin: admin.hset(keys.meta(PARTITION), b"checkpoint:" + BAD, "0-0"),
        lambda admin: admin.hset(keys.meta(PARTITION), b"table:" + BAD, BAD),
        lambda admin: admin.sadd(keys.apps(), BAD),
        lambda admin: admin.hset(keys.streams("shop"), BAD, "1 orders"),
        lambda admin: admin.hset(keys.processors("shop"), b"orders@" + BAD, "1"),
    ],
)
def test_every_look_shows_the_rest(
    run: Run, admin: SyncRedis, plant: Callable[[SyncRedis], object]
) -> None:
    run("processor", "add", PRINTER)
    run("send", ORDERS, GOOD)
    plant(admin)
    assert run("doctor").code == 0
    assert "printer" in run("inspect", "--all").stdout
    seen = json.loads(run("inspect", "--json").stdout)
    assert "printer" in [each["name"] for each in seen["processors"]]
    assert run("inspect", "shop/printer", "0").code == 0
    assert run("check", "--fail-on", "paused").code == 12
    assert run("check", "--nagios").stdout.startswith("RUNNEL CRITICAL - ")
    assert run("stream", "list", APP).code == 0
    assert run("stream", "show", ORDERS).code == 0


def test_a_byte_that_is_no_text_is_shown_as_its_number(run: Run, admin: SyncRedis) -> None:
    run("processor", "add", PRINTER)
    in_state("error_message")(admin)
    in_state("error_type", b"ValueError")(admin)
    in_state("error_event", b"1-0")(admin)
    in_state("attempts", b"1")(admin)
    assert r"caf\xc3" in run("inspect", "shop/printer", "0").stdout
