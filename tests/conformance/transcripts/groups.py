"""sync, revoke, describe_group."""

from __future__ import annotations

from tests.conformance.cases import Case, Int, Value, Word
from tests.conformance.keys import MEMBERS, PLAN, SESSIONS

HOST = "host 1 sh 5"


def sync_args(
    call: int,
    member: str = "w1",
    *,
    held: list[tuple[int, str]] | None = None,
    released: list[tuple[int, str, int]] | None = None,
    **changed: Word,
) -> list[Word]:
    """The arguments of `sync`, for a group of two partitions."""
    values: dict[str, Word] = {
        "partitions": 2,
        "session_timeout": 60000,
        "rebalance_timeout": 30000,
        "rebalance_delay": 0,
        "member": member,
        "incarnation": f"{member}-first",
        "call": call,
        "action": "stay",
        "description": HOST,
    }
    pairs: list[Word] = [each for pair in held or [] for each in pair]
    triples: list[Word] = [each for triple in released or [] for each in triple]
    return [*(values | changed).values(), len(pairs) // 2, *pairs, *triples]


def answer(
    call: int, generation: int, *grants: Value, session: int = 60000, next_call: Value = -1
) -> list[Value]:
    """The reply of `sync`."""
    return [call, generation, session, next_call, *grants]


def joined(case: Case) -> None:
    """The member w1 alone, with the grants `<g>` and `<g+1>` for both partitions."""
    grants = (0, Int("<g>"), 1, 1, Int("<g+1>"), 1)
    case.call("sync", *sync_args(1), gives=answer(1, 1, *grants))


def sync() -> Case:
    """Join, heartbeat, hand over, leave."""
    case = Case("sync: join, heartbeat, hand over, leave")
    own = (0, Int("<g>"), 1, 1, Int("<g+1>"), 1)
    joined(case)
    case.redis("HMGET", PLAN, "p:0", "p:1", gives=["w1 w1 <g> 0", "w1 w1 <g+1> 0"])
    case.redis("HGET", MEMBERS, "w1", gives=[f"w1-first - 1 <joined> stay {HOST}"])
    case.redis("ZSCORE", SESSIONS, "w1", gives=["<end>"])
    case.rises("<g>", "<end>")
    case.note("the first call again: it changes nothing")
    case.again("sync", *sync_args(1), gives=answer(1, 1, *own))
    held = [(0, "<g>"), (1, "<g+1>")]
    case.call("sync", *sync_args(2, held=held), gives=answer(2, 1, *own))
    case.note("a call that comes late is told the newest number, and changes nothing")
    case.again("sync", *sync_args(1), gives=answer(2, 1, *own))
    case.note("another member joins: a partition moves when its owner releases it")
    case.call("sync", *sync_args(1, "w2"), gives=answer(1, 2, next_call=Int("<20000..30000>")))
    keep = (0, Int("<g>"), 1, 1, Int("<g+1>"), 0)
    case.redis("HMGET", PLAN, "p:0", "p:1", gives=["w1 w1 <g> 0", "w1 w2 <g+1> <asked>"])
    case.call(
        "sync", *sync_args(3, held=held), gives=answer(3, 2, *keep, next_call=Int("<20000..30000>"))
    )
    released = sync_args(4, held=held[:1], released=[(1, "<g+1>", 0)])
    case.call("sync", *released, gives=answer(4, 3, *keep[:3]))
    case.call("sync", *sync_args(2, "w2"), gives=answer(2, 3, 1, Int("<h>"), 1))
    case.rises("<g+1>", "<h>")
    case.note("retire: everything moves to the other member, once it is released")
    retiring = sync_args(3, "w2", held=[(1, "<h>")], action="retire")
    case.call(
        "sync", *retiring, gives=answer(3, 4, 1, Int("<h>"), 0, next_call=Int("<20000..30000>"))
    )
    done = sync_args(4, "w2", released=[(1, "<h>", 0)], action="retire")
    case.call("sync", *done, gives=answer(4, 5))
    left = sync_args(5, "w2", action="leave")
    case.call("sync", *left, gives=answer(5, 5))
    case.redis("ZRANGE", SESSIONS, 0, -1, gives=["w1"])
    case.again("sync", *left, gives=answer(5, 5))
    back = (0, Int("<g>"), 1, 1, Int("<back>"), 1)
    case.call("sync", *sync_args(5, held=held[:1]), gives=answer(5, 5, *back))
    case.rises("<h>", "<back>")
    return case


def sync_replaced() -> Case:
    """A restart under the same member id."""
    case = Case("sync: a new start of a member replaces the old one")
    joined(case)
    renewed = (0, Int("<h>"), 1, 1, Int("<h+1>"), 1)
    again = sync_args(1, incarnation="w1-second")
    case.call("sync", *again, gives=answer(1, 2, *renewed))
    case.rises("<g+1>", "<h>")
    case.redis("HGET", MEMBERS, "w1", gives=[f"w1-second w1-first 1 <joined> stay {HOST}"])
    case.refused("REPLACED member=w1", "sync", *sync_args(2))
    case.note("only the call with number 1 replaces")
    case.refused("REPLACED member=w1", "sync", *sync_args(1))
    case.refused("REPLACED member=w1", "sync", *sync_args(7, incarnation="w1-third"))
    return case


def sync_settings() -> Case:
    """The settings of the member that joined last."""
    case = Case("sync: the member that joined last sets the times of the group")
    joined(case)
    case.note("before partitions move, the group waits for further joiners")
    waiting = answer(1, 1, session=40000, next_call=Int("<20000..30000>"))
    case.call(
        "sync", *sync_args(1, "w2", session_timeout=40000, rebalance_delay=30000), gives=waiting
    )
    held = [(0, "<g>"), (1, "<g+1>")]
    own = (0, Int("<g>"), 1, 1, Int("<g+1>"), 1)
    renewed = answer(2, 1, *own, session=40000, next_call=Int("<20000..30000>"))
    case.call("sync", *sync_args(2, held=held), gives=renewed)
    case.note("a session that was promised before is kept for its full time")
    members: list[Value] = ["w2", "<30000..40000>", "1", "<j2>", "stay", HOST]
    members += ["w1", "<50000..60000>", "2", "<j1>", "stay", HOST]
    partitions: list[Value] = ["0", "w1", "w1", "<g>", "1", "w1", "w1", "<g+1>"]
    case.reads("describe_group", gives=[Int("<now>"), 1, 40000, 2, *members, *partitions])
    case.note("if a member leaves, nothing waits")
    case.call("sync", *sync_args(3, action="leave"), gives=answer(3, 2, session=40000))
    new = (0, Int("<h>"), 1, 1, Int("<h+1>"), 1)
    case.call(
        "sync",
        *sync_args(2, "w2", session_timeout=40000, rebalance_delay=30000),
        gives=answer(2, 2, *new, session=40000),
    )
    return case


def sync_stale() -> Case:
    """A grant that a partition refused as stale."""
    case = Case("sync: a grant that was seen as stale is used up")
    joined(case)
    case.note("the plan was lost and is made anew, with smaller grants than a partition has seen")
    seen = sync_args(2, held=[(1, "<g+1>")], released=[(0, "<g>", 10**14)])
    case.call("sync", *seen, gives=answer(2, 2, 0, 10**14 + 1, 1, 1, Int("<g+1>"), 1))
    return case


def sync_refused() -> Case:
    """Malformed calls."""
    case = Case("sync: refused calls")
    args = sync_args(1, held=[(0, "1")])
    case.malformed(
        "sync",
        args,
        [
            (1, 0, "partitions limit=10000"),
            (1, "x", "partitions"),
            (2, 99, "session_timeout"),
            (2, 86400001, "session_timeout"),
            (3, 86400001, "rebalance_timeout"),
            (4, 86400001, "rebalance_delay"),
            (4, "1.5", "rebalance_delay"),
            (5, "", "member"),
            (5, "a b", "member"),
            (6, "-", "incarnation"),
            (7, 0, "call"),
            (8, "go", "action"),
            (9, "d" * 1001, "description limit=1000"),
            (10, 2, "held"),
            (11, "-1", "leases at=11"),
        ],
    )
    case.refused("BADARG field=count keys=3 argv=9", "sync", *args[:9])
    joined(case)
    case.refused("MISMATCH field=partitions stored=2 given=3", "sync", *sync_args(2, partitions=3))
    return case


def revoke() -> Case:
    """A grant is withdrawn."""
    case = Case("revoke: the owner claims again under a new grant")
    case.reads("revoke", 0, gives=[0])
    joined(case)
    case.call("revoke", 0, 7, gives=[1])
    case.redis("HMGET", PLAN, "p:0", "due", gives=["- w1 <g> 0", "1"])
    case.again("revoke", 0, 7, gives=[0])
    held = [(0, "<g>"), (1, "<g+1>")]
    grants = (0, Int("<h>"), 1, 1, Int("<g+1>"), 1)
    case.call("sync", *sync_args(2, held=held), gives=answer(2, 2, *grants))
    case.rises("<g+1>", "<h>")
    case.malformed("revoke", [0, 1], [(1, "-1", "partitions at=1"), (2, "x", "partitions at=2")])
    case.refused("BADARG field=partitions limit=1000", "revoke")
    return case


def describe_group() -> Case:
    """Members and owners."""
    case = Case("describe_group: the members and the owners of the partitions")
    case.reads("describe_group", gives=[Int("<start>"), 0, 0, 0])
    joined(case)
    case.call("sync", *sync_args(1, "w2"), gives=answer(1, 2, next_call=Int("<20000..30000>")))
    case.note("of a member: ms left of its session, call number, joined at, action, description")
    members: list[Value] = ["w1", "<30000..60000>", "1", "<j1>", "stay", HOST]
    members += ["w2", "<30000..60000>", "1", "<j2>", "stay", HOST]
    case.note("of a partition: number, owner, target, grant")
    partitions: list[Value] = ["0", "w1", "w1", "<g>", "1", "w1", "w2", "<g+1>"]
    case.reads("describe_group", gives=[Int("<now>"), 2, 60000, 2, *members, *partitions])
    case.refused("BADARG field=count keys=3 argv=1", "describe_group", "all")
    return case


CASES = (sync, sync_replaced, sync_settings, sync_stale, sync_refused, revoke, describe_group)
