"""transact with postpone and replayed; due, postpone; drop_parked and remove after them."""

from __future__ import annotations

from tests.conformance.cases import Case, Int, Value, Word
from tests.conformance.keys import (
    LOG,
    META,
    PARKED,
    PARKED_KEYS,
    POSTPONED,
    REPLAY,
    STATE,
)
from tests.conformance.steps import (
    NONCE,
    NONCE2,
    NONCE3,
    claimed,
    commit_args,
    parked_entry,
    postponed_name,
    ready,
    shows,
)

POSTPONE = [LOG, META, STATE, PARKED, PARKED_KEYS, POSTPONED]
REPLAYED = [LOG, META, STATE, PARKED, PARKED_KEYS, REPLAY, POSTPONED]
#: 366 days.
LONGEST = 31622400000
ALICE, BOB = postponed_name("<e>", "alice"), postponed_name("<e+1>", "bob")
FIRST, SECOND = parked_entry(ALICE, "<e>"), parked_entry(BOB, "<e+1>", "2")


def _reported(name: str, value: str, entry: list[Word]) -> list[Value]:
    """An event in the reply of `due`."""
    return [f"<{name}>", value, *entry]


def _postponed(case: Case, first: int, second: int) -> None:
    """Three events, of which the first two are postponed as `<p1>` and `<p2>`, for so many ms."""
    ready(case)
    for name, start, prev, event, ms, entry in (
        ("p1", "-", "0-0", "<e>", first, FIRST),
        ("p2", "(<p1>", "<e>", "<e+1>", second, SECOND),
    ):
        args = commit_args(prev, event, 1)
        case.call("transact", *args, "postpone", ms, 100, 1, *entry, keys=POSTPONE, gives=[1, 0])
        values = [str(each) for each in entry[1:]]
        case.redis("XRANGE", PARKED, start, "+", "COUNT", 1, gives=[f"<{name}>", *values])


def postponed() -> Case:
    """An event is due later, and passed meanwhile."""
    case = Case("transact: an event is postponed with the commit that passes it")
    ready(case)
    args: list[Word] = [*commit_args("0-0", "<e>", 1), "postpone", 60000, 100, 1, *FIRST]
    case.call("transact", *args, keys=POSTPONE, gives=[1, 0])
    case.note("it is a parked event with a key of its own")
    values = [str(each) for each in FIRST[1:]]
    case.redis("XRANGE", PARKED, "-", "+", gives=["<p>", *values])
    case.redis("HGETALL", PARKED_KEYS, gives=[ALICE, "1"])
    case.note("the server's clock says when it is due")
    shows(case, STATE, checkpoint="<e>", processed="1", moved_at="<moved>")
    case.redis("ZRANGE", POSTPONED, 0, -1, "WITHSCORES", gives=["<p>", "<moved+60000>"])
    shows(case, STATE, parked="1", parked_keys="1", postponed="1", postponed_due="<moved+60000>")
    case.again("transact", *args, keys=POSTPONE, gives=[0, 0])
    case.note("no room for more: the commit waits")
    more: list[Word] = [*commit_args("<e>", "<e+1>", 1), "postpone", 0, 1, 1, *SECOND]
    full = f"FULL processor= limit=1 sink={PARKED}"
    case.refused(full, "transact", *more, keys=POSTPONE)
    case.note("an event may be due at once, or in 366 days; the state tells the first")
    more[8:10] = [LONGEST, 2]
    case.call("transact", *more, keys=POSTPONE, gives=[1, 0])
    shows(case, STATE, parked="2", parked_keys="2", postponed="2", postponed_due="<moved+60000>")
    last: list[Word] = [*commit_args("<e+1>", "<e+2>", 1), "postpone", 0, 3, 1]
    third = parked_entry(postponed_name("<e+2>", "alice"), "<e+2>", "3")
    case.call("transact", *last, *third, keys=POSTPONE, gives=[1, 0])
    shows(case, STATE, moved_at="<last>", postponed="3")
    shows(case, STATE, postponed_due="<last>", parked_keys="3")
    return case


def postponed_refused() -> Case:
    """Malformed effects."""
    case = Case("transact: refused postponements")
    args: list[Word] = [*commit_args("0-0", "<e>", 1), "postpone", 60000, 100, 1, *FIRST]
    ready(case)
    case.malformed(
        "transact",
        args,
        [
            (9, "", "effects at=8"),
            (9, "-1", "effects at=8"),
            (9, LONGEST + 1, "effects at=8"),
            (10, "x", "effects at=8"),
            (10, 0, "entries limit=0"),
            (11, 0, "effects at=8"),
            (11, 2, "entries at=25"),
            (12, 3, "entries at=12"),
            (13, "name", "entries at=12"),
        ],
        keys=POSTPONE,
    )
    case.note("without its third key, and with that of another processor")
    bad = "BADARG field=effects at=8"
    case.refused(bad, "transact", *args, keys=POSTPONE[:5])
    other = POSTPONED.replace("printer", "mailer")
    case.refused(bad, "transact", *args, keys=[*POSTPONE[:5], other])
    case.note("a commit parks or postpones")
    both: list[Word] = [*args, "park", 100, 1, *SECOND]
    keys = [*POSTPONE, PARKED, PARKED_KEYS]
    case.refused("BADARG field=effects at=25", "transact", *both, keys=keys)
    fenced = [*args[:1], "1", *args[2:]]
    case.refused("FENCED epoch=<epoch>", "transact", *fenced, keys=POSTPONE)
    return case


def due() -> Case:
    """The owner asks what is due."""
    case = Case("due: postponed events that are due are reported until they are finished")
    case.reads("due", 10, gives=[-1, 0])
    _postponed(case, 0, 0)
    third = parked_entry(postponed_name("<e+2>", "alice"), "<e+2>", "3")
    args: list[Word] = [*commit_args("<e+1>", "<e+2>", 1), "postpone", 60000, 100, 1, *third]
    case.call("transact", *args, keys=POSTPONE, gives=[1, 0])
    case.note("the first of those that are due; and when the next one that is not will be")
    wait = Int("<1..60000>")
    both = [*_reported("p1", "1", FIRST), *_reported("p2", "1", SECOND)]
    case.call("due", 1, gives=[wait, 0, *_reported("p1", "1", FIRST)])
    case.call("due", 100, gives=[wait, 0, *both])
    case.again("due", 100, gives=[wait, 0, *both])
    case.note("the first is finished: `replayed` with the key `postponed` behind the others")
    done: list[Word] = [*commit_args("<e+2>", "<e+2>", 0), "replayed", 1, "<p1>"]
    case.call("transact", *done, keys=REPLAYED, gives=[1, 0])
    case.redis("HGET", PARKED_KEYS, ALICE, gives=[None])
    shows(case, STATE, parked="2", parked_keys="2", postponed="2")
    case.again("transact", *done, keys=REPLAYED, gives=[0, 0])
    case.reads("due", 100, gives=[wait, 0, *_reported("p2", "1", SECOND)])
    case.note("the second by a client that knows nothing of postponed events: the next look tells")
    unaware: list[Word] = [*done[:-1], "<p2>"]
    case.call("transact", *unaware, keys=REPLAYED[:-1], gives=[1, 0])
    shows(case, STATE, parked="1", postponed="2")
    case.call("due", 100, gives=[wait, 1])
    case.again("due", 100, gives=[wait, 0])
    case.redis("ZRANGE", POSTPONED, 0, -1, "WITHSCORES", gives=["<p3>", "<at>"])
    shows(case, STATE, postponed="1", postponed_due="<at>")
    limit = "limit limit=100"
    case.malformed("due", [10], [(1, 0, limit), (1, 101, limit), (1, "x", limit), (1, "", limit)])
    case.refused("BADARG field=count keys=4 argv=0", "due")
    return case


def postpone() -> Case:
    """A postponed event has failed again."""
    case = Case("postpone: an event that fails again is due later, or stays parked")
    _postponed(case, 0, 0)
    failure = "<e> 4 ValueError still no"
    case.note("its failure is known from now on where its key is, and no longer in the state")
    case.call("attempt", "<epoch>", NONCE, "failure", "<e>", 4, "ValueError", "no", gives=[0])
    args: list[Word] = ["<epoch>", NONCE, "<p1>", 60000, failure]
    case.call("postpone", *args, gives=[1])
    case.redis("HMGET", PARKED_KEYS, ALICE, BOB, gives=[f"1 {failure}", "1"])
    shows(case, STATE, event="", attempts="0", error_type=None, error_event=None)
    found = ["<p2>", "<second_due>", "<p1>", "<later>"]
    case.redis("ZRANGE", POSTPONED, 0, -1, "WITHSCORES", gives=found)
    case.rises("<second_due>", "<later>")
    shows(case, STATE, parked="2", postponed="2", postponed_due="<second_due>")
    case.again("postpone", *args, gives=[0])
    wait = Int("<1..60000>")
    case.reads("due", 10, gives=[wait, 0, *_reported("p2", "1", SECOND)])
    case.note("another failure, and due at once")
    case.wait(2)
    case.call("postpone", *args[:3], 0, "<e> 5 ValueError no", gives=[1])
    first = _reported("p1", "1 <e> 5 ValueError no", FIRST)
    case.reads("due", 10, gives=[-1, 0, *_reported("p2", "1", SECOND), *first])
    case.note("without a time it stays parked, and is not tried again")
    never: list[Word] = ["<epoch>", NONCE, "<p2>", "", "<e+1> 4 ValueError no"]
    case.call("postpone", *never, gives=[1])
    case.redis("HGET", PARKED_KEYS, BOB, gives=["1 <e+1> 4 ValueError no"])
    shows(case, STATE, parked="2", postponed="1")
    case.again("postpone", *never, gives=[0])
    case.reads("due", 10, gives=[-1, 0, *first])
    case.note("an entry that is gone")
    case.reads("postpone", "<epoch>", NONCE, "9-9", 0, failure, gives=[0])
    case.malformed(
        "postpone",
        args,
        [
            (3, "first", "entry"),
            (3, "", "entry"),
            (4, "x", f"ms limit={LONGEST}"),
            (4, "-1", f"ms limit={LONGEST}"),
            (4, LONGEST + 1, f"ms limit={LONGEST}"),
            (5, "why", "failure limit=1200"),
            (5, "<e> 4", "failure limit=1200"),
            (5, "7-0 4 " + "x" * 1195, "failure limit=1200"),
        ],
    )
    case.refused("BADARG field=count keys=5 argv=4", "postpone", *args[:4])
    case.note("an operator has both replayed: the one that fails again is replayed no further")
    case.call("replay", NONCE2, ALICE, BOB, gives=[2])
    case.refused("FENCED epoch=<ended>", "postpone", *args)
    changed = {"checkpoint": "<e+1>", "processed": 2, "checkpoint_exists": 1, "next_id": "<e+2>"}
    claimed(case, 11, nonce=NONCE3, epoch=Int("<second>"), **changed, parked=2, replay=2)
    last: list[Word] = ["<second>", NONCE3, "<p2>", 60000, "<e+1> 5 ValueError no"]
    case.call("postpone", *last, gives=[1])
    case.redis("HKEYS", REPLAY, gives=[ALICE])
    shows(case, STATE, replay="1", parked="2", postponed="2")
    case.again("postpone", *last, gives=[0])
    case.note("the epoch alone is no token; and a lease that was released is none")
    case.refused("FENCED epoch=<second>", "postpone", "<second>", NONCE, *last[2:4], failure)
    release = commit_args("<e+1>", "<e+1>", 0, 1, epoch="<second>", nonce=NONCE3)
    case.call("commit", *release, gives=[1, 0])
    case.refused("FENCED epoch=<second>", "postpone", *last)
    return case


def dropped() -> Case:
    """Postponed events that nobody wants any more."""
    case = Case("drop_parked, remove: postponed events go with the parked ones")
    _postponed(case, 0, 60000)
    case.call("drop_parked", NONCE2, "<p1>", gives=[1])
    case.redis("ZRANGE", POSTPONED, 0, -1, "WITHSCORES", gives=["<p2>", "<at>"])
    shows(case, STATE, parked="1", parked_keys="1", postponed="1", postponed_due="<at>")
    case.again("drop_parked", NONCE2, "<p1>", gives=[0])
    case.reads("due", 10, gives=[Int("<1..60000>"), 0])
    case.call("drop_parked", NONCE3, "<p2>", gives=[1])
    shows(case, STATE, parked="0", postponed=None, postponed_due=None)
    case.redis("EXISTS", POSTPONED, PARKED_KEYS, gives=[0])
    changed = {"checkpoint": "<e+1>", "processed": 2, "checkpoint_exists": 1, "next_id": "<e+2>"}
    claimed(case, 11, epoch=Int("<second>"), **changed)
    third = parked_entry(postponed_name("<e+2>", "alice"), "<e+2>", "3")
    step = commit_args("<e+1>", "<e+2>", 1, epoch="<second>")
    case.call("transact", *step, "postpone", 0, 100, 1, *third, keys=POSTPONE, gives=[1, 0])
    case.call("remove", "printer", gives=[1])
    case.redis("EXISTS", STATE, PARKED, PARKED_KEYS, REPLAY, POSTPONED, gives=[0])
    case.again("remove", "printer", gives=[0])
    return case


CASES = (postponed, postponed_refused, due, postpone, dropped)
