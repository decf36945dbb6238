"""elect, tick, check_acl."""

from __future__ import annotations

from tests.conformance.cases import Case, Int
from tests.conformance.keys import LEADER, TICKS

SCHEDULE = "0 * * * * UTC"


def elect() -> Case:
    """One leader at a time."""
    case = Case("elect: one leader at a time")
    case.call("elect", "w1", "n1", 60000, "hold", gives=[1, 60000])
    case.redis("HMGET", LEADER, "member", "nonce", "session_timeout", gives=["w1", "n1", "60000"])
    case.redis("HGET", LEADER, "ends", gives=["<end>"])
    case.note("it renews its lease with the same call")
    case.call("elect", "w1", "n1", 60000, "hold", gives=[1, 60000])
    case.note("the same member after a restart is another one")
    case.reads("elect", "w1", "n2", 60000, "hold", gives=[0, Int("<30000..60000>")])
    case.reads("elect", "w2", "n2", 60000, "leave", gives=[0, Int("<30000..60000>")])
    case.call("elect", "w1", "n1", 60000, "leave", gives=[0, 0])
    case.redis("EXISTS", LEADER, gives=[0])
    case.again("elect", "w1", "n1", 60000, "leave", gives=[0, 0])
    case.call("elect", "w2", "n2", 60000, "hold", gives=[1, 60000])
    case.note("the lease has ended: another takes it")
    case.redis("HSET", LEADER, "ends", 1, gives=[0])
    case.call("elect", "w1", "n1", 60000, "hold", gives=[1, 60000])
    case.malformed(
        "elect",
        ["w1", "n1", 60000, "hold"],
        [
            (1, "", "member"),
            (2, "", "nonce"),
            (3, 99, "session_timeout"),
            (3, "1e3", "session_timeout"),
            (4, "grab", "action"),
        ],
    )
    case.refused("BADARG field=count keys=1 argv=3", "elect", "w1", "n1", 60000)
    return case


def tick() -> Case:
    """Each instant runs at most once."""
    case = Case("tick: an instant runs at most once")
    case.note("at the start: record the schedule; only later instants may run")
    case.call("tick", "report", 0, "n1", SCHEDULE, gives=[0, 0])
    case.redis("HGET", TICKS, "report", gives=[f"<known> . {SCHEDULE}"])
    case.again("tick", "report", 0, "n2", SCHEDULE, gives=[0, 0])
    case.reads("tick", "report", 1, "n1", SCHEDULE, gives=[0, 0])
    case.redis("HSET", TICKS, "report", f"1000 . {SCHEDULE}", gives=[0])
    case.call("tick", "report", 2000, "n1", SCHEDULE, gives=[1, 0])
    case.redis("HGET", TICKS, "report", gives=[f"2000 n1 {SCHEDULE}"])
    case.note("whoever repeats the call gets yes again, another one gets no")
    case.again("tick", "report", 2000, "n1", SCHEDULE, gives=[1, 0])
    case.reads("tick", "report", 2000, "n2", SCHEDULE, gives=[0, 0])
    case.reads("tick", "report", 1500, "n1", SCHEDULE, gives=[0, 0])
    case.note("an instant that is not due yet")
    case.redis("TIME", gives=["<seconds>", "<micros>"])
    case.reads(
        "tick", "report", "<seconds+3600>000", "n1", SCHEDULE, gives=[2, Int("<3000000..3600000>")]
    )
    case.malformed(
        "tick",
        ["report", 2000, "n1", SCHEDULE],
        [
            (1, "", "task"),
            (2, "01", "instant"),
            (2, "soon", "instant"),
            (3, "", "nonce"),
            (4, "", "schedule"),
            (4, "s" * 201, "schedule"),
        ],
    )
    case.refused("BADARG field=count keys=1 argv=3", "tick", "report", 2000, "n1")
    return case


def check_acl() -> Case:
    """What the user may run."""
    case = Case("check_acl: which commands the user may run")
    case.reads("check_acl", 2, "GET", "a", 3, "SET", "a", "b", 1, "NOSUCH", gives=[1, 1, -1])
    case.malformed(
        "check_acl",
        [2, "GET", "a"],
        [(1, 0, "commands at=1"), (1, 3, "commands at=1"), (1, "x", "commands at=1")],
    )
    case.refused("BADARG field=commands limit=1000", "check_acl")
    case.refused("BADARG field=commands at=1", "check_acl", 2, "EVALSHA", "x")
    return case


CASES = (elect, tick, check_acl)
