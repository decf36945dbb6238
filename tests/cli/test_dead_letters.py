"""`runnel processor dead-letters` shows what there is, in order, and registers nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from redis import Redis as SyncRedis

from runnel import DeadLetter, keys
from runnel.cli.dead_letters import as_json
from runnel.processor import Processor
from tests.cli import shop
from tests.cli.commands import PRINTER, one_sentence
from tests.cli.conftest import GOOD, Run


def test_showing_dead_letters_registers_nothing(run: Run, spawn: Run, admin: SyncRedis) -> None:
    app, picky = "tests.cli.shop:app", "tests.cli.shop:picky"
    for amount in (1, 2):
        assert run("send", "tests.cli.shop:tight", GOOD.replace("99", str(amount))).code == 0
    assert spawn("worker", app, "--processors", "picky", "--burst").code == 0
    before = sorted(admin.keys())
    listed = run("processor", "dead-letters", picky)
    (first, record, second, _) = listed.stdout.splitlines()
    assert "failed 1 time: ValueError: 1 is too much" in first
    assert json.loads(record)["amount"] == 1
    assert "2 is too much" in second
    as_json = run("processor", "dead-letters", picky, "--limit", "1", "--json")
    (letter,) = map(json.loads, as_json.stdout.splitlines())
    assert (letter["partition"], letter["record"]["amount"]) == (0, 2)
    assert (letter["error_type"], letter["attempts"], letter["processor"]) == (
        "ValueError",
        1,
        "picky",
    )
    without = run("processor", "dead-letters", PRINTER)
    assert without.code == 2
    assert "printer keeps no dead letters" in one_sentence(without.stderr)
    assert sorted(admin.keys()) == before
    inspected = run("inspect", app)
    said = "2 dead letters wait in tight.picky.dead, and no processor reads the stream"
    assert said in inspected.stdout
    assert f"runnel processor dead-letters {picky}" in inspected.stdout
    assert run("inspect", app, "--max-dead", "2").code == 0
    passed = run("inspect", app, "--max-dead", "1")
    assert (passed.code, "shop/picky: 2 dead letters wait, allowed 1" in passed.stderr) == (
        10,
        True,
    )


STRICT = shop.app.processors["strict"]
SENT = shop.vessel.spec.encode(shop.Order.model_validate_json(GOOD))


def letter(
    processor: Processor = STRICT, fields: list[bytes] = SENT, error: str = "why"
) -> dict[Any, Any]:
    """An entry of the processor's dead letters. `fields` are those of the event."""
    assert processor.sink is not None
    dead_letter = DeadLetter.of(
        "vessel", processor.name, 0, ("5-0", fields), 2, ("ValueError", error)
    )
    encoded = processor.sink.encode(dead_letter)
    return dict(zip(encoded[::2], encoded[1::2], strict=True))


def log(partition: int) -> str:
    assert STRICT.sink is not None
    return keys.log(STRICT.sink.prefix(partition))


def test_the_newest_of_all_partitions_are_shown_in_order(run: Run, admin: SyncRedis) -> None:
    for number in range(8, 12):  # As text, 10-0 would come before 9-0.
        admin.xadd(log(number % 2), letter(error=f"number {number}"), f"{number}-0")
    of_another = letter(replace(STRICT, name="another"))  # A sink may be shared.
    admin.xadd(log(0), of_another, "12-0")
    listed = run("processor", "dead-letters", "tests.cli.shop:strict", "--limit", "3", "--json")
    found = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [each["id"] for each in found] == ["9-0", "10-0", "11-0"]
    assert [each["error_message"] for each in found] == ["number 9", "number 10", "number 11"]
    assert {each["record"]["amount"] for each in found} == {99}


def test_what_cannot_be_read_is_shown_with_the_reason(run: Run, admin: SyncRedis) -> None:
    admin.xadd(log(0), {"json": "{}"}, "1-0")
    admin.xadd(log(1), letter(fields=[b"json", b"[]"]), "2-0")
    command = ("processor", "dead-letters", "tests.cli.shop:strict")
    first, second, record = run(*command).stdout.splitlines()
    assert first.startswith("1-0 is not a dead letter: ")
    assert "event 5-0 failed 2 times: ValueError: why" in second
    assert record == "  (the payload is list, not a map of fields)"
    one, other = map(json.loads, run(*command, "--json").stdout.splitlines())
    assert set(one) == {"id", "unreadable"}
    assert other["unreadable"] == "the payload is list, not a map of fields"
    assert "record" not in other


def test_bytes_in_a_record_are_shown_as_text() -> None:
    assert as_json({"record": {"name": b"a\xff"}}) == r'{"record": {"name": "a\\xff"}}'
