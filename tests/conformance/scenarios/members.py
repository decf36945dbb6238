"""Two members of a group: sessions, hand-over, fencing."""

from __future__ import annotations

from tests.conformance.cases import Case, Int, Value, Word
from tests.conformance.keys import (
    BALANCES,
    GROUP,
    LOG,
    META,
    OUTBOX,
    PARKED_KEYS,
    PLAN,
    REPLAY,
    STATE,
)
from tests.conformance.steps import (
    CLAIMED,
    NONCE,
    NONCE2,
    NONCE3,
    append_args,
    appended,
    claim_args,
    claimed,
    commit_args,
    committed,
    entries,
    ready,
    registered,
)
from tests.conformance.transcripts.groups import answer, joined, sync_args


def session_expiry() -> Case:
    """A member that says nothing loses its partitions."""
    case = Case("session expiry: a silent member loses its partitions, and is fenced")
    registered(case)
    case.note("a session of 200 ms; the member claims and says nothing more")
    own = (0, Int("<g>"), 1, 1, Int("<g+1>"), 1)
    case.call("sync", *sync_args(1, session_timeout=200), gives=answer(1, 1, *own, session=200))
    case.call("claim", *claim_args_of("<g>"), gives=_reply())
    case.wait(250)
    case.note("another member joins: it gets both partitions at once, under larger grants")
    new = (0, Int("<h>"), 1, 1, Int("<h+1>"), 1)
    case.call("sync", *sync_args(1, "w2"), gives=answer(1, 2, *new))
    case.rises("<g+1>", "<h>")
    taken: dict[str, Value] = {"unclean_tenures": 1, "previous_owner": "w1"}
    case.call(
        "claim", *claim_args_of("<h>", NONCE2, "w2"), gives=_reply(epoch=Int("<second>"), **taken)
    )
    case.note("the first one wakes up: what it processed is not committed")
    case.refused("FENCED epoch=<second>", "commit", *commit_args("0-0", "<e>", 1))
    case.call("commit", *commit_args("0-0", "<e>", 1, epoch="<second>", nonce=NONCE2), gives=[1, 0])
    case.note("its next sync lets it join again, with nothing")
    held = [(0, "<g>"), (1, "<g+1>")]
    again = sync_args(2, held=held)
    case.call("sync", *again, gives=answer(2, 3, next_call=Int("<20000..30000>")))
    return case


def claim_args_of(grant: str, nonce: str = NONCE, member: str = "w1") -> list[Word]:
    """The arguments of `claim` under a grant of the group."""
    args = claim_args(1, nonce, "", member)
    return [*args[:5], grant, *args[6:]]


def _reply(**changed: Value) -> list[Value]:
    return [*(CLAIMED | changed).values()]


def session_is_kept() -> Case:
    """The end of a session is a session timeout after the last sync, by the server's clock."""
    case = Case("session clock: a session ends a session timeout after the last sync")
    joined(case)
    members: list[Value] = ["w1", "<50000..60000>", "1", "<j>", "stay", "host 1 sh 5"]
    partitions: list[Value] = ["0", "w1", "w1", "<g>", "1", "w1", "w1", "<g+1>"]
    case.reads("describe_group", gives=[Int("<now>"), 1, 60000, 1, *members, *partitions])
    case.note("5 s of it are left; a heartbeat renews it")
    case.redis("ZADD", f"{GROUP}:sessions", "<now+5000>", "w1", gives=[0])
    own = (0, Int("<g>"), 1, 1, Int("<g+1>"), 1)
    held = [(0, "<g>"), (1, "<g+1>")]
    case.call("sync", *sync_args(2, held=held), gives=answer(2, 1, *own))
    members[2] = "2"
    case.reads("describe_group", gives=[Int("<later>"), 1, 60000, 1, *members, *partitions])
    return case


def hand_over() -> Case:
    """A partition moves while its owner lives."""
    case = Case("hand-over: the owner releases, the next one continues after its checkpoint")
    registered(case)
    joined(case)
    case.call("claim", *claim_args_of("<g+1>"), gives=_reply())
    committed(case, "0-0", "<e>", 1)
    case.call("sync", *sync_args(1, "w2"), gives=answer(1, 2, next_call=Int("<20000..30000>")))
    case.note("the owner is asked to release partition 1, finishes its event, and releases")
    keep = (0, Int("<g>"), 1, 1, Int("<g+1>"), 0)
    held = [(0, "<g>"), (1, "<g+1>")]
    case.call(
        "sync", *sync_args(2, held=held), gives=answer(2, 2, *keep, next_call=Int("<20000..30000>"))
    )
    committed(case, "<e>", "<e+1>", 1, release=1)
    released = sync_args(3, held=held[:1], released=[(1, "<g+1>", 0)])
    case.call("sync", *released, gives=answer(3, 3, *keep[:3]))
    case.call("sync", *sync_args(2, "w2"), gives=answer(2, 3, 1, Int("<h>"), 1))
    moved: dict[str, Value] = {"checkpoint": "<e+1>", "processed": 2, "checkpoint_exists": 1}
    case.call(
        "claim",
        *claim_args_of("<h>", NONCE2, "w2"),
        gives=_reply(epoch=Int("<second>"), **moved, next_id="<e+2>"),
    )
    case.rises("<epoch>", "<second>")
    return case


def forced_hand_over() -> Case:
    """An owner that does not release in time."""
    case = Case("hand-over: after the rebalance timeout it happens without the owner")
    joined(case)
    case.call(
        "sync",
        *sync_args(1, "w2", rebalance_timeout=100),
        gives=answer(1, 2, next_call=Int("<0..100>")),
    )
    case.wait(150)
    case.note("the owner lives, and still has its event: the partition is granted anyway")
    case.call(
        "sync", *sync_args(2, "w2", rebalance_timeout=100), gives=answer(2, 3, 1, Int("<h>"), 1)
    )
    case.rises("<g+1>", "<h>")
    held = [(0, "<g>"), (1, "<g+1>")]
    case.call("sync", *sync_args(2, held=held), gives=answer(2, 3, 0, Int("<g>"), 1))
    return case


def fencing() -> Case:
    """Every write with an old token is refused."""
    case = Case("fencing: a zombie writes nothing at all")
    ready(case)
    changed = {"epoch": Int("<second>"), "unclean_tenures": 1, "previous_owner": "w1"}
    claimed(case, 11, member="w2", nonce=NONCE2, **changed)
    token: list[Word] = ["<epoch>", NONCE]
    args = commit_args("0-0", "<e>", 1)
    fenced = "FENCED epoch=<second>"
    case.refused(fenced, "commit", *args)
    case.refused(fenced, "commit", *commit_args("0-0", "0-0", 0, 1))
    table = [LOG, META, STATE, BALANCES]
    case.refused(fenced, "transact", *args, "table", 1, 0, "alice", "5", keys=table)
    case.refused(fenced, "attempt", *token, "failure", "<e>", 1, "ValueError", "no")
    case.refused(fenced, "attempt", *token, "quarantine", "<e>", 1, "ValueError", "no")
    case.refused(fenced, "trim_outbox", *token, "0-0", 0, 0, "", "", keys=[STATE, OUTBOX])
    case.refused(
        fenced, "park_again", *token, "alice", "<e> 1 E m", keys=[STATE, PARKED_KEYS, REPLAY]
    )
    case.refused(fenced, "postpone", *token, "1-1", 60000, "<e> 1 E m")
    case.note("the epoch alone is no token, neither is the nonce")
    case.refused(fenced, "commit", *commit_args("0-0", "<e>", 1, epoch="<second>"))
    case.refused(fenced, "commit", *commit_args("0-0", "<e>", 1, nonce=NONCE2))
    case.note("a grant that is older than the last one makes no lease")
    case.refused("STALE_GRANT seen=11", "claim", *claim_args(10))
    return case


def stale_claim() -> Case:
    """A claim that comes too late."""
    case = Case("stale claim: report the grant that was seen, and get a larger one")
    registered(case)
    joined(case)
    case.note("an operator, or a restored plan: somebody has claimed under a larger grant")
    large = 9 * 10**14
    changed = {"epoch": Int("<other>")}
    claimed(case, large, member="w9", nonce=NONCE3, **changed)
    case.refused(f"STALE_GRANT seen={large}", "claim", *claim_args_of("<g>"))
    grants = (0, large + 1, 1, 1, Int("<g+1>"), 1)
    seen = sync_args(2, held=[(1, "<g+1>")], released=[(0, "<g>", large)])
    case.call("sync", *seen, gives=answer(2, 2, *grants))
    taken: dict[str, Value] = {"unclean_tenures": 1, "previous_owner": "w9"}
    case.call("claim", *claim_args_of(str(large + 1)), gives=_reply(**taken))
    committed(case, "0-0", "<e>", 1)
    return case


def lost_plan() -> Case:
    """The group lost its keys."""
    case = Case("lost plan: members keep what they report as held")
    registered(case)
    joined(case)
    case.call("claim", *claim_args_of("<g>"), gives=_reply())
    case.redis("DEL", PLAN, f"{GROUP}:members", f"{GROUP}:sessions", gives=[3])
    own = (0, Int("<g>"), 1, 1, Int("<g+1>"), 1)
    held = [(0, "<g>"), (1, "<g+1>")]
    case.call("sync", *sync_args(2, held=held), gives=answer(2, 1, *own))
    case.note("the lease never ended")
    committed(case, "0-0", "<e>", 1)
    case.note("in the other order: who joins first gets everything, and the holder lets go")
    case.redis("DEL", PLAN, f"{GROUP}:members", f"{GROUP}:sessions", gives=[3])
    new = (0, Int("<h>"), 1, 1, Int("<h+1>"), 1)
    case.call("sync", *sync_args(1, "w2"), gives=answer(1, 1, *new))
    case.call("sync", *sync_args(3, held=held), gives=answer(3, 2, next_call=Int("<20000..30000>")))
    return case


def full_partition() -> Case:
    """A producer waits for the processor."""
    case = Case("full partition: the same append succeeds once there is room")
    registered(case, 0)
    appended(case, 2, size=3)
    args = append_args("3", "4", size=3, sequence=2)
    case.refused("FULL processor=printer limit=3 checkpoint=0-0", "append", *args)
    claimed(case)
    committed(case, "0-0", "<e>", 1)
    case.note("the entry at the checkpoint stays, so there is still no room for two")
    case.refused("FULL processor=printer limit=3 checkpoint=<e>", "append", *args)
    committed(case, "<e>", "<e+1>", 1)
    case.call("append", *args, gives=[1, "<f>", 2])
    case.again("append", *args, gives=[0, "<f>", 2])
    case.redis(
        "XRANGE",
        LOG,
        "-",
        "+",
        gives=["<e+1>", "json", "2", "<f>", "json", "3", "<f+1>", "json", "4"],
    )
    case.note("a part of the list goes on its own")
    case.refused(
        "BADARG field=entries limit=2", "append", *append_args("5", "6", "7", size=3, sequence=3)
    )
    return case


def mixed_versions() -> Case:
    """A client of an older protocol in a stream of a newer one."""
    case = Case("mixed versions: a client with a smaller version writes nothing")
    ready(case)
    case.redis("HSET", META, "protocol", 2, gives=[0])
    error = "MISMATCH field=protocol stored=2 given=1"
    case.refused(error, "declare", 1, 8, "xxh64")
    case.refused(error, "register", 1, 8, "xxh64", "printer", "0")
    case.refused(error, "claim", *claim_args(11, NONCE2))
    case.refused(error, "append", *append_args("4", sequence=2))
    case.refused(error, "append_once", 1, 8, "xxh64", 100, "refuse", 60000, *entries("4"))
    numbered: list[Word] = [1, 8, "xxh64", 100, "refuse", "producer:p", "0-1", *entries("4")]
    case.refused(error, "append_numbered", *numbered)
    case.refused(error, "append_later", 1, 8, "xxh64", 100, "delay", 0, 60000, *entries("4"))
    case.refused(error, "promote", 1, 8, "xxh64", 100, "refuse")
    case.note("a lease that was claimed before goes on: its commits carry no version")
    committed(case, "0-0", "<e>", 1)
    case.note("a client with a larger version works beside the stored one, and changes nothing")
    case.call("append", 3, *append_args("4", sequence=2)[1:], gives=[1, "<f>", 1])
    case.redis("HGET", META, "protocol", gives=["2"])
    return case


CASES = (
    *(session_expiry, session_is_kept, hand_over, forced_hand_over, fencing, stale_claim),
    *(lost_plan, full_partition, mixed_versions),
)
