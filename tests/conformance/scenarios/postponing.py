"""An event that is set aside by itself, and tried again later."""

from __future__ import annotations

from tests.conformance.cases import Case, Int, Value, Word
from tests.conformance.keys import (
    BALANCES,
    LOG,
    META,
    PARKED,
    PARKED_KEYS,
    POSTPONED,
    REPLAY,
    STATE,
)
from tests.conformance.scenarios.members import claim_args_of
from tests.conformance.steps import (
    CLAIMED,
    NONCE,
    NONCE2,
    commit_args,
    committed,
    parked_entry,
    postponed_name,
    registered,
    shows,
)
from tests.conformance.transcripts.groups import answer, joined, sync_args


def postponed_event() -> Case:
    """It fails, waits, moves to the next owner, fails again, and is finished."""
    case = Case("postponed event: when it is due the next owner tries it again, exactly once")
    registered(case)
    joined(case)
    case.call("claim", *claim_args_of("<g+1>"), gives=[*CLAIMED.values()])
    case.note("the first event fails and is postponed for a minute; the next one is processed")
    case.call("attempt", "<epoch>", NONCE, "failure", "<e>", 3, "ValueError", "no", gives=[0])
    keys = [LOG, META, STATE, PARKED, PARKED_KEYS]
    name = postponed_name("<e>", "alice")
    entry = parked_entry(name, "<e>")
    effect: list[Word] = ["postpone", 60000, 100, 1, *entry]
    first = commit_args("0-0", "<e>", 1)
    case.call("transact", *first, *effect, keys=[*keys, POSTPONED], gives=[1, 0])
    case.redis("XRANGE", PARKED, "-", "+", gives=["<p>", *[str(each) for each in entry[1:]]])
    case.reads("due", 100, gives=[Int("<1..60000>"), 0])
    committed(case, "<e>", "<e+1>", 1)
    _handed_over(case)
    case.note("its reply says that an event is parked, so the new owner asks; and a minute later")
    case.reads("due", 100, gives=[Int("<1..60000>"), 0])
    case.redis("ZADD", POSTPONED, 1, "<p>", gives=[0])
    case.reads("due", 100, gives=[-1, 0, "<p>", "1", *entry])
    case.note("it fails again: it is due in another minute")
    failure = "<e> 4 ValueError still no"
    again: list[Word] = ["<second>", NONCE2, "<p>", 60000, failure]
    case.call("postpone", *again, gives=[1])
    case.again("postpone", *again, gives=[0])
    case.reads("due", 100, gives=[Int("<1..60000>"), 0])
    case.redis("ZADD", POSTPONED, 1, "<p>", gives=[0])
    case.reads("due", 100, gives=[-1, 0, "<p>", f"1 {failure}", *entry])
    case.note("the owner before tries it, too: it is fenced, and nothing of that is written")
    done: list[Word] = ["replayed", 1, "<p>", "table", 1, 0, "alice", "5"]
    all_keys = [*keys, REPLAY, POSTPONED, BALANCES]
    zombie = commit_args("<e+1>", "<e+1>", 0)
    case.refused("FENCED epoch=<second>", "transact", *zombie, *done, keys=all_keys)
    case.refused("FENCED epoch=<second>", "postpone", "<epoch>", NONCE, *again[2:])
    case.note("it succeeds, and its effects are written with that; the reply is lost")
    finished = commit_args("<e+1>", "<e+1>", 0, epoch="<second>", nonce=NONCE2)
    case.call("transact", *finished, *done, keys=all_keys, gives=[1, 0])
    case.redis("HGETALL", BALANCES, gives=["alice", "5"])
    case.again("transact", *finished, *done, keys=all_keys, gives=[0, 0])
    case.reads("due", 100, gives=[-1, 0])
    case.note("a try that knows nothing of that is refused, because the entry is gone")
    other: list[Word] = [*done[:-1], "10"]
    third = commit_args("<e+1>", "<e+2>", 1, epoch="<second>", nonce=NONCE2)
    missing = "CONFLICT checkpoint=<e+1> missing=<p>"
    case.refused(missing, "transact", *third, *other, keys=all_keys)
    case.reads("postpone", *again, gives=[0])
    case.redis("EXISTS", POSTPONED, PARKED_KEYS, REPLAY, gives=[0])
    case.call("commit", *third, gives=[1, 0])
    shows(case, STATE, parked="0", parked_keys="0", postponed=None, processed="3")
    return case


def _handed_over(case: Case) -> None:
    """The member w2 joins, the owner releases partition 1, and w2 claims it as `<second>`."""
    case.note("another member joins, and partition 1 is handed over to it")
    case.call("sync", *sync_args(1, "w2"), gives=answer(1, 2, next_call=Int("<20000..30000>")))
    keep = (0, Int("<g>"), 1, 1, Int("<g+1>"), 0)
    held = [(0, "<g>"), (1, "<g+1>")]
    asked = answer(2, 2, *keep, next_call=Int("<20000..30000>"))
    case.call("sync", *sync_args(2, held=held), gives=asked)
    release = commit_args("<e+1>", "<e+1>", 0, 1)
    case.call("commit", *release, gives=[1, 0])
    released = sync_args(3, held=held[:1], released=[(1, "<g+1>", 0)])
    case.call("sync", *released, gives=answer(3, 3, *keep[:3]))
    case.call("sync", *sync_args(2, "w2"), gives=answer(2, 3, 1, Int("<h>"), 1))
    moved: dict[str, Value] = {"checkpoint": "<e+1>", "processed": 2, "checkpoint_exists": 1}
    moved |= {"epoch": Int("<second>"), "next_id": "<e+2>", "parked": 1}
    reply = [*(CLAIMED | moved).values()]
    case.call("claim", *claim_args_of("<h>", NONCE2, "w2"), gives=reply)


CASES = (postponed_event,)
