"""`runnel dead`: what was set aside is listed, shown, replayed and dropped."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.conftest import Done, Run

APP, ORDERS = "tests.cli.shop_parked:app", "tests.cli.shop_parked:orders"
PATIENT, PICKY = "tests.cli.shop_parked:patient", "tests.cli.shop_parked:picky"
#: Customer and amount; those below zero fail while the app is broken.
SENT = [("ann", 1), ("bob", -2), ("ann", 3), ("bob", 4), ("cid", -5)]

Broken = Callable[[], None]


@pytest.fixture
def broken(run: Run, spawn: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has the events processed by a broken processor, which is mended afterwards."""

    def work(processor: str) -> None:
        for customer, amount in SENT:
            order = json.dumps({"customer": customer, "amount": amount})
            assert run("send", ORDERS, order).code == 0
        monkeypatch.setenv("BROKEN", "1")
        assert burst(spawn, processor).code == 0
        monkeypatch.delenv("BROKEN")

    return work


def burst(spawn: Run, processor: str) -> Done:
    return spawn("worker", APP, "--processors", processor, "--burst")


def listed(run: Run, target: str, *options: str) -> list[dict[str, Any]]:
    done = run("dead", "list", target, "--json", *options)
    assert (done.code, done.stderr) == (0, "")
    return [json.loads(each) for each in done.stdout.splitlines()]


def test_parked_events_are_listed_shown_and_replayed_in_order(
    run: Run, spawn: Run, broken: Callable[[str], None]
) -> None:
    broken("patient")
    found = listed(run, PATIENT)
    assert [(each["kind"], each["key"]) for each in found] == [
        ("parked", "bob"),
        ("parked", "bob"),
        ("parked", "cid"),
    ]
    assert [each["record"]["amount"] for each in found] == [-2, 4, -5]
    assert [each["attempts"] for each in found] == [1, 0, 1]
    lines = run("dead", "list", PATIENT).stdout.splitlines()
    assert "key bob, 1 attempt: ValueError: -2 is too little" in lines[0]
    assert lines[1].endswith("key bob: behind another event of its key")
    shown = run("dead", "show", PATIENT, "--event", found[0]["event"]).stdout
    assert "ValueError: -2 is too little" in shown
    assert "  traceback:\n" in shown
    assert "in check\n" in shown, "the function that raised it"
    assert "in check\n" in found[0]["traceback"]
    assert found[1]["traceback"] == ""
    assert 'record: {"customer": "bob", "amount": -2}' in shown
    would = run("dead", "replay", PATIENT, "--event", found[1]["event"]).stdout
    assert (
        would
        == "would replay 2 parked events of 1 key, and 0 dead letters; add --execute to do it\n"
    )
    assert [each["replaying"] for each in listed(run, PATIENT)] == [False] * 3
    counts = json.loads(run("dead", "replay", PATIENT, "--key", "bob", "--json").stdout)
    assert counts == {"parked": 2, "keys": 1, "dead_letters": 0, "executed": False}
    assert run("dead", "replay", PATIENT, "--key", "bob", "--execute").code == 0
    assert [each["replaying"] for each in listed(run, PATIENT)] == [True, True, False]
    inspected = run("inspect", APP).stdout
    assert "3 events of 2 keys parked, 1 of the keys replayed now" in inspected
    assert f"runnel dead list {PATIENT}" in inspected
    assert "bob -2\nbob 4\n" in burst(spawn, "patient").stdout
    assert [each["key"] for each in listed(run, PATIENT)] == ["cid"]


def test_a_replay_that_fails_again_is_told(
    run: Run, spawn: Run, broken: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken("patient")
    assert [each["replays"] for each in listed(run, PATIENT)] == [0, 0, 0]
    monkeypatch.setenv("BROKEN", "1")
    for again in (
        "replayed and failed again at 20",
        "replayed 2 times and failed again, the last time at 20",
    ):
        run("dead", "replay", PATIENT, "--key", "bob", "--execute")
        assert burst(spawn, "patient").code == 0
        first, behind, _ = listed(run, PATIENT)
        assert again in run("dead", "list", PATIENT).stdout.splitlines()[0]
        assert first["at"] < first["replayed"]
        assert (behind["replays"], behind["replayed"]) == (0, None)
    shown = run("dead", "show", PATIENT, "--event", first["event"]).stdout
    assert "  traceback of the failure before its replay:\n" in shown


def test_what_is_chosen(run: Run, broken: Callable[[str], None]) -> None:
    broken("patient")
    assert len(listed(run, PATIENT, "--key", "bob")) == 2
    assert len(listed(run, PATIENT, "--partition", "0")) == 3
    assert listed(run, PATIENT, "--key", "nobody") == []
    assert listed(run, PATIENT, "--since", "2999-01-01T00:00:00Z") == []
    assert len(listed(run, PATIENT, "--since", "2020-01-01")) == 3
    assert run("dead", "list", PATIENT, "--key", "nobody").stdout == "nothing is set aside\n"
    some = run("dead", "list", PATIENT, "--limit", "1")
    assert (len(some.stdout.splitlines()), "more than 1" in some.stderr) == (2, True)
    assert some.stdout.splitlines()[1].startswith("listed: 1 parked of 1 key · by error: 1 ")
    for wrong in (["--partition", "7"], ["--since", "yesterday"]):
        assert run("dead", "list", PATIENT, *wrong).code == 2


def test_the_poisoned_event_is_dropped_and_what_is_behind_it_replayed(
    run: Run, spawn: Run, broken: Callable[[str], None]
) -> None:
    broken("patient")
    first = listed(run, PATIENT)[0]["event"]
    would = run("dead", "drop", PATIENT, "--event", first).stdout
    assert "would drop 1 event; add --execute" in would
    assert len(listed(run, PATIENT)) == 3
    counts = json.loads(run("dead", "drop", PATIENT, "--event", first, "--json").stdout)
    assert counts == {"dropped": 1, "executed": False}
    assert run("dead", "drop", PATIENT, "--event", first, "--execute").stdout == "dropped 1 event\n"
    run("dead", "replay", PATIENT, "--key", "bob", "--execute")
    assert "bob 4\n" in burst(spawn, "patient").stdout
    assert [each["key"] for each in listed(run, PATIENT)] == ["cid"]


def test_dead_letters_are_replayed_for_their_processor_alone(
    run: Run, spawn: Run, broken: Callable[[str], None]
) -> None:
    broken("picky")
    found = listed(run, PICKY)
    assert [(each["kind"], each["record"]["amount"]) for each in found] == [
        ("dead letter", -2),
        ("dead letter", -5),
    ]
    would = run("dead", "replay", PICKY).stdout
    assert "would replay 0 parked events of 0 keys, and 2 dead letters" in would
    assert run("dead", "replay", PICKY, "--execute").code == 0
    assert [each["kind"] for each in listed(run, PICKY)] == ["parked", "parked"]
    assert burst(spawn, "picky").stdout == "bob -2\ncid -5\n"
    assert listed(run, PICKY) == []


def test_a_replayed_letter_that_fails_again_is_a_dead_letter_again(
    run: Run, spawn: Run, broken: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken("picky")
    run("dead", "replay", PICKY, "--key", "bob", "--execute")
    monkeypatch.setenv("BROKEN", "1")
    assert burst(spawn, "picky").code == 0
    found = listed(run, PICKY)
    assert [(each["kind"], each["key"], each["replays"]) for each in found] == [
        ("dead letter", "cid", 0),
        ("dead letter", "bob", 1),
    ]
    assert all("in check\n" in each["traceback"] for each in found)
    assert found[1]["replayed"] == found[1]["at"]
    assert ", replayed and failed again at 20" in run("dead", "list", PICKY).stdout.splitlines()[1]
    run("dead", "replay", PICKY, "--key", "bob", "--execute")
    assert burst(spawn, "picky").code == 0
    assert [each["replays"] for each in listed(run, PICKY)] == [0, 2]
    assert run("dead", "drop", PICKY, "--key", "bob", "--execute").stdout == "dropped 1 event\n"
    assert [each["key"] for each in listed(run, PICKY)] == ["cid"]


def test_letters_that_a_processor_has_not_read_stay_and_the_message_names_it(
    run: Run, spawn: Run, broken: Callable[[str], None]
) -> None:
    broken("picky")
    assert run("processor", "add", "tests.cli.shop_parked:reader").code == 0
    refused = run("dead", "replay", PICKY, "--execute")
    assert refused.code == 1
    assert "the processor reader reads the dead letters" in refused.stderr
    assert len(listed(run, PICKY)) == 2
    assert burst(spawn, "reader").code == 0
    assert run("dead", "replay", PICKY, "--execute").code == 0


def test_letters_without_room_stay_and_the_message_says_what_to_do(
    run: Run, spawn: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        run("send", ORDERS, json.dumps({"customer": "bob", "amount": -1 - number}))
    monkeypatch.setenv("BROKEN", "1")
    burst(spawn, "picky")
    refused = run("dead", "replay", PICKY, "--execute")
    assert refused.code == 5
    assert "no more than 5 events of a partition may be parked" in refused.stderr
    assert len(listed(run, PICKY)) == 6


def test_limits_and_states_of_inspect_know_parked_events(
    run: Run, broken: Callable[[str], None]
) -> None:
    broken("patient")
    failed = run("inspect", APP, "--fail-on", "parked")
    assert (failed.code, "3 events parked in partition 0" in failed.stderr) == (11, True)
    checked = run("check", APP, "--min-members", "0", "--fail-on", "quarantined")
    assert checked.code == 0
    assert checked.stdout.startswith("ok, but: ")
    assert "parked/patient: 3 events parked in partition 0" in checked.stdout
    nagios = run("check", APP, "--min-members", "0", "--fail-on", "quarantined", "--nagios")
    assert nagios.stdout.startswith("RUNNEL OK - but: ")
    assert " parked=3 " in nagios.stdout
    seen = json.loads(run("inspect", APP, "--json").stdout)
    assert seen["totals"]["parked"] == 3
    (processor,) = [each for each in seen["processors"] if each["name"] == "patient"]
    (row,) = processor["partitions"]
    assert (row["parked"], row["parked_keys"], row["replaying"]) == (3, 2, 0)


def test_remove_says_how_many_parked_events_it_drops(
    run: Run, broken: Callable[[str], None]
) -> None:
    broken("patient")
    done = run("processor", "remove", PATIENT, "--yes")
    assert "dropped 3 parked events" in done.stdout
    assert listed(run, PATIENT) == []


def test_the_environment_of_the_tests_is_not_broken() -> None:
    assert "BROKEN" not in os.environ
