"""`runnel tail` shows what there is, in order, and changes nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis as SyncRedis

from runnel.cli.tail import since_id
from runnel.errors import ConfigError
from tests.cli.commands import APP, ORDERS, PRINTER, one_sentence
from tests.cli.conftest import GOOD, ROOT, Run

HERE = ("--app", "shop", "--stream", "orders")


def log(partition: int) -> str:
    return f"runnel:{{shop:orders:{partition}}}:orders:log"


def send(run: Run, *numbers: int) -> None:
    for number in numbers:
        assert run("send", ORDERS, GOOD.replace("1,", f"{number},", 1)).code == 0


def stored(client: SyncRedis) -> list[Any]:
    found: list[Any] = client.keys()
    return found


def shown(run: Run, *arguments: str) -> list[int]:
    """The order numbers of the events that are shown."""
    done = run("tail", ORDERS, "--json", *arguments)
    assert (done.code, done.stderr) == (0, "")
    return [json.loads(line)["record"]["order_id"] for line in done.stdout.splitlines()]


def test_the_newest_events_are_shown_in_order_and_nothing_changes(
    run: Run, admin: SyncRedis
) -> None:
    send(run, *range(1, 16))
    before = {name: admin.dump(name) for name in stored(admin)}
    assert shown(run) == list(range(6, 16))
    assert shown(run, "-n", "3") == [13, 14, 15]
    assert shown(run, "-n", "all") == list(range(1, 16))
    assert shown(run, "-n", "0") == []
    assert shown(run, "--since", "earliest") == list(range(1, 16))
    assert shown(run, "--since", "10m", "-n", "2") == [14, 15]
    assert shown(run, "--since", "latest") == []
    assert {name: admin.dump(name) for name in stored(admin)} == before


def test_only_some_partitions_or_one_key_are_shown(run: Run) -> None:
    send(run, *range(1, 16), *range(1, 16))
    assert shown(run, "--key", "7") == [7, 7]
    assert shown(run, "--key", "7", "-n", "1") == [7]
    assert shown(run, "--key", "700") == []
    place = json.loads(run("partition", ORDERS, "7", "--json").stdout)["partition"]
    here = shown(run, "--partition", str(place), "-n", "all")
    others = [str(each) for each in range(4) if each != place]
    elsewhere = shown(run, "--partition", ",".join(others), "-n", "all")
    assert 7 in here
    assert sorted(here + elsewhere) == sorted([*range(1, 16), *range(1, 16)])
    assert shown(run, "--partition", str(place), "--key", "7") == [7, 7]
    wrong = run("tail", ORDERS, "--partition", others[0], "--key", "7")
    assert (wrong.code, wrong.stdout) == (2, "")
    assert f"all events of this key are in partition {place}" in one_sentence(wrong.stderr)


def test_a_key_needs_the_code_which_names_its_partition(run: Run) -> None:
    send(run, 7)
    place = json.loads(run("partition", ORDERS, "7", "--json").stdout)["partition"]
    done = run("tail", *HERE, "--key", "7")
    assert (done.code, done.stdout) == (2, "")
    assert f"give --partition {place}" in one_sentence(done.stderr)
    assert run("tail", *HERE, "--partition", str(place)).stdout.count("\n") == 1


def test_events_since_a_time_or_an_id_are_shown(run: Run, admin: SyncRedis) -> None:
    for ms in (1_795_000_000_000, 1_795_000_001_000, 1_795_000_002_000):
        admin.xadd(log(ms // 1000 % 4), {"json": GOOD.replace("99", str(ms))}, f"{ms}-0")

    def ids(*arguments: str) -> list[str]:
        lines = run("tail", ORDERS, "--json", *arguments).stdout.splitlines()
        return [json.loads(line)["id"][7:10] for line in lines]

    assert ids() == ["000", "001", "002"]
    assert ids("--since", "1795000001000-0") == ["001", "002"]
    assert ids("--since", "2026-11-18T11:06:41Z") == ["001", "002"]
    assert ids("--since", "2026-11-18T11:06:41") == ["001", "002"]
    assert ids("--since", "1795000001000-1") == ["002"]


def test_since_takes_a_time_ago() -> None:
    now = datetime(2026, 11, 29, 12, tzinfo=UTC)
    ms = int(now.timestamp() * 1000)
    for text, seconds in (("30s", 30), ("15m", 900), ("2h", 7200), ("7d", 604_800)):
        assert since_id(text, now) == f"{ms - seconds * 1000}-0"
    assert since_id("99999d", now) == "0-0"
    assert since_id("999999999d", now) == "-"
    for text in ("15", "m", "-5m", "1w", "soon", ""):
        with pytest.raises(ConfigError, match="is none of: a time ago, such as 30s, 15m"):
            since_id(text, now)


def test_what_cannot_be_decoded_is_shown_with_the_reason(run: Run, admin: SyncRedis) -> None:
    for partition in range(4):
        admin.xadd(log(partition), {"other": "b\x9b", "@trace": "1"}, "5-0")
    send(run, 1)
    done = run("tail", ORDERS)
    assert (done.code, done.stdout.count("\n")) == (0, 5)
    assert done.stdout.count("(the entry starts with the field 'other'") == 4
    assert done.stdout.count('{"other": "b\\x9b"}  trace=1') == 4
    filtered = run("tail", ORDERS, "--key", "1", "--json").stdout.splitlines()
    assert ["unreadable" in json.loads(each) for each in filtered] == [True, False]


def test_dead_letters_are_shown_with_the_event_that_failed(run: Run) -> None:
    run("send", "tests.cli.shop:tight", GOOD)
    assert run("worker", APP, "--processors", "picky", "--burst").code == 0
    for named in ([APP], ["--app", "shop"]):
        done = run("tail", *named, "--stream", "tight.picky.dead", "--json")
        (event,) = map(json.loads, done.stdout.splitlines())
        assert event["record"]["error_message"] == "99 is too much"
        assert event["record"]["original"]["amount"] == 99
    keyed = run("tail", APP, "--stream", "tight.picky.dead", "--key", "1")
    assert keyed.stdout.count("\n") == 1


def test_a_stream_without_events_is_no_error_and_said(run: Run) -> None:
    done = run("tail", ORDERS)
    assert (done.code, done.stdout) == (0, "")
    assert "has no stream orders of app shop yet" in done.stderr
    run("processor", "add", PRINTER)
    assert run("tail", ORDERS).stderr == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-n", "-1"], "is neither a number of events nor 'all'"),
        (["-n", "few"], "'few' is neither a number of events nor 'all'"),
        (["--since", "soon"], "--since 'soon' is none of: a time ago"),
    ],
)
def test_a_wrong_option_is_refused(run: Run, arguments: list[str], says: str) -> None:
    done = run("tail", ORDERS, *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert says in done.stderr


def test_another_partition_count_is_refused(run: Run, admin: SyncRedis) -> None:
    admin.hset("runnel:{shop:orders:0}:orders:meta", mapping={"protocol": 1, "partitions": 9})
    for command in (["tail", ORDERS], ["show", ORDERS, "0", "1-0"]):
        done = run(*command)
        assert done.code == 4
        assert "was made with partition_count=9" in one_sentence(done.stderr)


def test_a_reader_that_leaves_ends_the_command_quietly(run: Run, redis_url: str) -> None:
    many = "\n".join(GOOD.replace("1,", f"{number},", 1) for number in range(3000))
    assert run("sendmany", ORDERS, "-", stdin=many).code == 0
    command = [sys.executable, "-m", "runnel", "tail", ORDERS, "--redis-url", redis_url]
    process = subprocess.Popen(
        [*command, "-n", "all"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(20) == 1


def test_the_commands_of_the_guide_work(spawn: Run, redis_url: str) -> None:
    example = ROOT / "examples"
    sent = spawn("send", "example:orders", GOOD.replace("1,", "42,", 1), cwd=example).stdout
    guide = (ROOT / "docs/guide.md").read_text()
    found = re.findall(r"^\$ runnel ((?:tail|show|partition) [^#|\n]*)", guide, re.MULTILINE)
    assert len(found) >= 7
    for line in found:
        words = line.replace("4 1795487034634-0", sent).split()
        if "--follow" not in words and "--stream" not in words:
            done = spawn(*words, cwd=example)
            assert (done.code, done.stderr) == (0, ""), line
            assert "42" in done.stdout, line


def test_the_help_has_examples(run: Run) -> None:
    said = run("tail", "--help").stdout
    assert "$ runnel tail example:orders --key 42" in said
    assert "--app myapp --stream orders" in said
