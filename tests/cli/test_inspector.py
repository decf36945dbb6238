"""`runnel inspect` of one processor and of one partition, with its code and without."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.cli.commands import one_sentence
from tests.cli.conftest import Run
from tests.cli.test_dead import APP, ORDERS, PATIENT, broken

__all__ = ["broken"]

MODULE = APP.partition(":")[0]


#: Words that name the same processor -> whether its code is used.
WAYS = [
    ([APP, "patient"], True),
    ([PATIENT], True),
    ([APP, "orders@patient"], True),
    (["parked/patient"], False),
    (["parked/orders@patient"], False),
    (["--app", "parked", "patient"], False),
]


def test_one_processor_and_one_partition(run: Run, broken: Callable[[str], None]) -> None:
    broken("patient")
    for words, code in WAYS:
        seen = json.loads(run("inspect", *words, "--json").stdout)
        assert [each["name"] for each in seen["processors"]] == ["patient"]
        assert [each["name"] for each in seen["streams"]] == ["orders"]
        assert "partition" not in seen
        output = run("inspect", *words).stdout
        target = PATIENT if code else "parked/orders@patient"
        assert f"runnel dead list {target}\n" in output
        assert "picky" not in output

        found = json.loads(run("inspect", *words, "0", "--json").stdout)["partition"]
        assert {each["key"]: each["events"] for each in found["parked"]} == {"bob": 2, "cid": 1}
        output = run("inspect", *words, "0").stdout
        assert run("inspect", *words, "--partition", "0").stdout[:200] == output[:200]
        assert output.startswith("parked/patient partition 0 is down: no worker runs this ")
        assert f"runnel dead replay {target} --partition 0" in output
        assert "key bob: 2 events, the first is " in output
    show_what_can_be_typed(run)


def show_what_can_be_typed(run: Run) -> None:
    assert run("send", ORDERS, '{"customer": "dan", "amount": 6}').code == 0
    for words in ([APP, "patient", "0"], ["parked/patient", "0"]):
        lines = run("inspect", *words).stdout.splitlines()
        commands = [line.partition("runnel ")[2] for line in lines if "runnel " in line]
        shown = next(each for each in commands if each.startswith("show "))
        assert '"customer": "dan"' in run(*shown.split()).stdout
        listed = next(each for each in commands if each.startswith("dead list "))
        assert "key bob" in run(*listed.split()).stdout


def test_what_is_not_there_is_refused_in_one_sentence(run: Run) -> None:
    assert run("processor", "add", PATIENT).code == 0
    for words, says in [
        ((APP, "patent"), "app 'parked' has no processor 'patent'; did you mean 'patient'?"),
        ((APP, "patient", "1"), "PARTITION must be 0 to 0 for parked/patient, not 1"),
        (("parked/patent",), "has no processor 'patent'"),
        (("shop/patient",), "there is no app 'shop' at "),
        ((f"{MODULE}:nothing",), f"{MODULE} has no attribute 'nothing'"),
    ]:
        done = run("inspect", *words)
        assert (done.code, done.stdout) == (2, "")
        assert says in one_sentence(done.stderr)
    for words, says in [
        ((APP, "0"), "of which processor? give TARGET [PROCESSOR [PARTITION]]"),
        ((APP, "patient", "--serve"), "--serve shows whole apps"),
        ((PATIENT, "patient", "0"), f"{PATIENT} names a processor: leave 'patient' out"),
    ]:
        done = run("inspect", *words)
        assert done.code == 2
        assert says in done.stderr


def test_a_module_with_an_app_of_the_same_name_as_a_processor_is_the_app(run: Run) -> None:
    seen = json.loads(run("inspect", ORDERS, "--json").stdout)
    assert {each["name"] for each in seen["processors"]} == {"patient", "picky", "reader"}
