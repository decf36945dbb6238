"""`runnel show` and `runnel partition`: one event, and where a key goes."""

from __future__ import annotations

import json

import pytest
from redis import Redis as SyncRedis

from tests.cli.commands import APP, ORDERS, PRINTER, one_sentence
from tests.cli.conftest import GOOD, Run

HERE = ("--app", "shop", "--stream", "orders")


def test_an_event_is_shown_by_what_send_prints(run: Run) -> None:
    sent = run("send", ORDERS, GOOD, "--header", "trace=1").stdout.split()
    shown = run("show", ORDERS, *sent)
    assert shown.code == 0
    head, _, record = shown.stdout.partition("record     \n")
    rows = [each.split(maxsplit=1) for each in head.splitlines()]
    assert ["stream", "orders"] in rows
    assert [["partition", sent[0]], ["id", sent[1]]] == rows[1:3]
    assert ["key", "1"] in rows
    assert ["header", "trace=1"] in rows
    assert json.loads(record)["amount"] == 99
    without = json.loads(run("show", *sent, *HERE, "--json").stdout)
    assert (without["record"]["amount"], without["key"]) == (99, None)


def test_it_says_which_processors_are_past_the_event(run: Run, admin: SyncRedis) -> None:
    run("processor", "add", PRINTER)
    sent = run("send", ORDERS, GOOD).stdout.split()
    assert json.loads(run("show", ORDERS, *sent, "--json").stdout)["passed"] == {"printer": False}
    assert (
        "processor  the checkpoint of printer has not passed it\n"
        in run("show", ORDERS, *sent).stdout
    )
    assert run("worker", APP, "--processors", "printer", "--burst").code == 0
    assert (
        "processor  the checkpoint of printer has passed it\n" in run("show", ORDERS, *sent).stdout
    )


@pytest.mark.parametrize("partition", ["0", "1", "2", "3"])
def test_no_such_event_is_exit_6_and_says_what_there_is(
    run: Run, admin: SyncRedis, partition: str
) -> None:
    said = one_sentence(run("show", ORDERS, partition, "5-0").stderr)
    assert f"partition {partition} of stream orders has no event 5-0: it has no events" in said
    for id_ in ("10-0", "20-0"):
        admin.xadd(f"runnel:{{shop:orders:{partition}}}:orders:log", {"a": "b"}, id_)
    for id_, says in (
        ("9-9", "the oldest one that is left is 10-0"),
        ("21-0", "the newest one is 20-0"),
        ("15-0", "see that both belong together"),
    ):
        done = run("show", ORDERS, partition, id_)
        assert (done.code, done.stdout) == (6, "")
        assert says in one_sentence(done.stderr)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([ORDERS, "4", "1-0"], "PARTITION must be 0 to 3, not 4"),
        ([ORDERS, "x", "1-0"], "PARTITION must be a number, not 'x'"),
        ([ORDERS, "1", "1"], "ID must have the form 1795877224744-0, not '1'"),
        ([ORDERS, "1"], "give TARGET PARTITION ID"),
        (["1", "1-0"], "give TARGET PARTITION ID"),
        ([], "give TARGET PARTITION ID"),
    ],
)
def test_a_wrong_argument_is_refused(run: Run, words: list[str], says: str) -> None:
    done = run("show", *words)
    assert (done.code, done.stdout) == (2, "")
    assert says in done.stderr


def test_an_event_that_cannot_be_decoded_is_shown(run: Run, admin: SyncRedis) -> None:
    admin.xadd("runnel:{shop:orders:0}:orders:log", {"a": "\x1b[2J", "b": "c  d"}, "5-0")
    shown = run("show", ORDERS, "0", "5-0")
    assert shown.code == 0
    assert "unreadable the entry starts with the field 'a'" in shown.stdout
    assert '"b": "c  d"' in shown.stdout
    assert "\x1b" not in shown.stdout


def test_the_partition_of_a_key_is_the_one_that_send_takes(run: Run, admin: SyncRedis) -> None:
    sent = run("send", ORDERS, GOOD).stdout.split()
    for named in ([ORDERS, "1"], ["1", *HERE]):
        found = json.loads(run("partition", *named, "--json").stdout)
        assert (str(found["partition"]), found["key"]) == (sent[0], "1")
        assert admin.xlen(found["log"]) == 1
        assert found["hash_value"] % 4 == found["partition"]
    shown = run("partition", ORDERS, "1").stdout
    assert f"partition  {sent[0]} of 4, counted from 0\n" in shown
    assert "key        1 (bytes 31)\n" in shown


def test_with_code_redis_is_not_asked(run: Run) -> None:
    done = run("partition", ORDERS, "1", url="redis://127.0.0.1:1")
    assert (done.code, done.stderr) == (0, "")
    other = run("partition", "1", *HERE, url="redis://127.0.0.1:1")
    assert other.code == 3
    assert run("partition", ORDERS).code == 2


@pytest.mark.parametrize("command", ["show", "partition"])
def test_the_help_has_examples(run: Run, command: str) -> None:
    said = run(command, "--help").stdout
    assert f"$ runnel {command} example:orders " in said
    assert "--app myapp --stream orders" in said
