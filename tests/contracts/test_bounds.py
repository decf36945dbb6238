"""L4: no script's run time is unbounded.

How many commands a script runs does not grow with what is stored, but for the bounds that its
header states; and what could grow without end is refused at its limit.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.wire import HEADERS, Arg, Refused, Wire
from tests.contracts.world import CONTRACT, GROUP, PARTITION, SINK_LOG, SINK_META, valid_calls
from tests.lua.conftest import LOG, META, NUMBERS, PLAN, PRODUCERS

ENTRY: list[Arg] = [2, "f", "v"]


def commands(wire: Wire, script: str, keys: list[str], args: list[Arg]) -> int:
    """How many commands one call runs on the server, its own included."""
    wire.redis.config_resetstat()
    outcome = wire.send(script, keys, *args)
    assert not isinstance(outcome, Refused), outcome.text
    stats: Any = wire.redis.info("commandstats")
    return sum(each["calls"] for name, each in stats.items() if "config" not in name)


def fill(wire: Wire) -> None:
    """Much of everything that a partition and an app may hold."""
    pipeline = wire.redis.pipeline(transaction=False)
    for number in range(3_000):
        pipeline.xadd(LOG, {"f": "v"})
        pipeline.xadd(SINK_LOG, {"f": "v"})
        pipeline.hset(PRODUCERS, f"other{number % 900}", f"1 {1_700_000_000_000 + number}-0 1")
        pipeline.hset("runnel:{shop}:ticks", f"task{number % 900}", "1 n")
    pipeline.execute()


#: Their cost depends on the arguments, or on the group: they have tests of their own.
VARY = {"sync", "describe_group"}


@pytest.mark.parametrize("script", sorted(set(HEADERS) - VARY))
def test_l4_a_script_runs_as_many_commands_however_much_is_stored(wire: Wire, script: str) -> None:
    costs = []
    for filled in (False, True):
        call = valid_calls(wire)[script]
        args = list(call.args)
        if "size" in HEADERS[script].args:
            args[HEADERS[script].args.index("size")] = 9_999
        if filled:
            fill(wire)
        costs.append(commands(wire, script, call.keys, args))
    assert costs[0] == costs[1]


def test_l4_a_quiet_heartbeat_costs_the_same_in_a_large_group(wire: Wire) -> None:
    costs = []
    for partitions in (8, 400):
        wire.clear()
        head: list[Arg] = [partitions, 10_000, 5_000, 0]
        for number in range(partitions // 8):
            wire.send("sync", GROUP, *head, f"m{number}", "start", 1, "stay", "host", 0)
        wire.send("sync", GROUP, *head, "m0", "start", 2, "stay", "host", 0)
        costs.append(
            commands(wire, "sync", GROUP, [*head, "m0", "start", 3, "stay", "host", 0]),
        )
    assert costs[0] == costs[1]


def test_l4_a_change_in_a_group_costs_no_more_than_its_partitions_and_members(wire: Wire) -> None:
    head: list[Arg] = [500, 10_000, 5_000, 0]
    for number in range(50):
        wire.send("sync", GROUP, *head, f"m{number}", "start", 1, "stay", "host", 0)
    cost = commands(wire, "sync", GROUP, [*head, "new", "start", 1, "stay", "host", 0])
    assert cost < 500 + 50


SEND: list[Arg] = [*CONTRACT, 9_999, "refuse", "new", 1]
NUMBERED: list[Arg] = [value for i in range(1_001) for value in (f"0-{i}", *ENTRY)]
LIMITS: list[tuple[str, list[str], list[Arg], str]] = [
    ("append", [LOG, META, PRODUCERS], [*SEND, *ENTRY * 1_001], "entries"),
    ("append", [LOG, META, PRODUCERS], [*SEND, 1_002, *["f"] * 1_002], "entries"),
    ("append_numbered", [LOG, META, NUMBERS], [*SEND[:5], "producer:p", *NUMBERED], "entries"),
    ("register", PARTITION, [1, 10_001, "xxh64", "printer", "0"], "partitions"),
    ("sync", GROUP, [10_001, 10_000, 5_000, 0, "m", "start", 1, "stay", "host", 0], "partitions"),
    ("revoke", [PLAN], [0] * 1_001, "partitions"),
]


@pytest.mark.parametrize(("script", "keys", "args", "field"), LIMITS)
def test_l4_more_than_a_call_may_carry_is_refused(
    wire: Wire, script: str, keys: list[str], args: list[Arg], field: str
) -> None:
    wire.snapshot()
    refused = wire.call(script, keys, *args)
    assert refused == Refused("BADARG")
    assert refused.details["field"] == field


def test_l4_no_more_is_added_or_trimmed_at_once_than_the_header_says(wire: Wire) -> None:
    call = valid_calls(wire)["transact"]
    keys = [*PARTITION, SINK_LOG, SINK_META]
    fill(wire)
    wire.snapshot()
    many = [*call.args[:7], "derived", 5_000, "refuse", 201, *ENTRY * 201]
    assert wire.call("transact", keys, *many) == Refused("BADARG")
    before = len(wire.seen[SINK_LOG].entries)
    most = [*call.args[:7], "derived", 300, "drop_oldest", 200, *ENTRY * 200]
    reply = wire.call("transact", keys, *most)
    assert reply[0] == 1
    assert len(wire.seen[SINK_LOG].entries) == before + 200 - 1_000
    before = len(wire.seen[LOG].entries)
    args: list[Arg] = [*CONTRACT, 300, "drop_oldest", "new", 1, *ENTRY]
    assert wire.call("append", [LOG, META, PRODUCERS], *args)[0] == 1
    assert len(wire.seen[LOG].entries) == before + 1 - 1_000
