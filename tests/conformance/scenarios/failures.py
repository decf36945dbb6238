"""Events that fail: attempts, deaths, quarantine, parked keys."""

from __future__ import annotations

from tests.conformance.cases import Case, Int, Value, Word
from tests.conformance.keys import (
    DEAD_LOG,
    DEAD_META,
    LOG,
    META,
    PARKED,
    PARKED_KEYS,
    REPLAY,
    STATE,
)
from tests.conformance.steps import (
    NONCE,
    NONCE2,
    NONCE3,
    claimed,
    commit_args,
    entries,
    parked_entry,
    ready,
    registered,
    shows,
)
from tests.conformance.transcripts.groups import answer, joined, sync_args


def quarantine() -> Case:
    """A partition is stopped by an event that keeps failing."""
    case = Case("quarantine: the partition stops until an operator resumes it")
    registered(case)
    joined(case)
    claimed(case)
    token: list[Word] = ["<epoch>", NONCE]
    for attempts in (1, 2, 3):
        case.call("attempt", *token, "failure", "<e>", attempts, "ValueError", "no", gives=[0])
    case.call("attempt", *token, "quarantine", "<e>", 4, "ValueError", "no", gives=[0])
    case.note("the next owner holds it, and processes nothing")
    case.call("commit", *commit_args("0-0", "0-0", 0, 1), gives=[1, 0])
    known: dict[str, Value] = {"attempts": 4, "event": "<e>"}
    claimed(case, 11, nonce=NONCE2, epoch=Int("<second>"), quarantined=1, **known)
    case.note("an operator resumes it, and has it claimed again")
    case.call("resume", gives=[1])
    case.call("revoke", 0, gives=[1])
    held = [(0, "<g>"), (1, "<g+1>")]
    grants = (0, Int("<h>"), 1, 1, Int("<g+1>"), 1)
    case.call("sync", *sync_args(2, held=held), gives=answer(2, 2, *grants))
    release = commit_args("0-0", "0-0", 0, 1, epoch="<second>", nonce=NONCE2)
    case.call("commit", *release, gives=[1, 0])
    claimed(case, 12, nonce=NONCE3, epoch=Int("<third>"))
    third = commit_args("0-0", "<e>", 1, epoch="<third>", nonce=NONCE3)
    case.call("commit", *third, gives=[1, 0])
    return case


def poison() -> Case:
    """An event that kills its workers."""
    case = Case("poison: an event that kills its workers is known after two deaths")
    ready(case)
    changed: dict[str, Value] = {"unclean_tenures": 1, "previous_owner": "w1"}
    case.note("a worker dies without a word: an unclean tenure, and no event is blamed")
    claimed(case, 11, member="w2", nonce=NONCE2, epoch=Int("<second>"), **changed)
    case.note("the next one records the start of the event, and dies")
    start: list[Word] = ["start", "<e>", 0, "", ""]
    case.call("attempt", "<second>", NONCE2, *start, gives=[0])
    changed |= {"unclean_tenures": 2, "previous_owner": "w2", "attempts": 1, "deaths": 1}
    claimed(case, 12, member="w3", nonce=NONCE3, epoch=Int("<third>"), event="<e>", **changed)
    case.call("attempt", "<third>", NONCE3, "start", "<e>", 1, "", "", gives=[0])
    changed |= {"unclean_tenures": 3, "previous_owner": "w3", "attempts": 2, "deaths": 2}
    claimed(case, 13, member="w4", epoch=Int("<fourth>"), event="<e>", **changed)
    case.note("it becomes a dead letter without another try; progress forgets the deaths")
    args = [*commit_args("0-0", "<e>", 1, epoch="<fourth>"), "derived", 100, "refuse", 1]
    keys = [LOG, META, STATE, DEAD_LOG, DEAD_META]
    case.call("transact", *args, *entries("dead"), keys=keys, gives=[1, 0])
    shows(case, STATE, unclean_tenures="0", deaths="0", attempts="0", event="", checkpoint="<e>")
    return case


def failure_is_no_death() -> Case:
    """A worker that reports a failure is alive."""
    case = Case("poison: a failure that is reported ends a row of deaths")
    ready(case)
    case.call("attempt", "<epoch>", NONCE, "start", "<e>", 0, "", "", gives=[0])
    dead: dict[str, Value] = {"attempts": 1, "deaths": 1, "event": "<e>", "unclean_tenures": 1}
    claimed(case, 11, nonce=NONCE2, epoch=Int("<second>"), previous_owner="w1", **dead)
    case.call("attempt", "<second>", NONCE2, "failure", "<e>", 2, "ValueError", "no", gives=[0])
    shows(case, STATE, deaths="0", attempts="2", started="")
    case.note("a release is clean, and the failures are known to the next owner")
    release = commit_args("0-0", "0-0", 0, 1, epoch="<second>", nonce=NONCE2)
    case.call("commit", *release, gives=[1, 0])
    known: dict[str, Value] = {"attempts": 2, "event": "<e>", "unclean_tenures": 1}
    claimed(case, 12, nonce=NONCE3, epoch=Int("<third>"), **known)
    return case


def _values(key: str, event: str, payload: str) -> list[str]:
    return [str(each) for each in parked_entry(key, event, payload)[1:]]


def parked_key() -> Case:
    """The later events of a parked key are parked, too, and replayed in order."""
    case = Case(
        "parked key: later events of the key wait behind the first, and are replayed in order"
    )
    ready(case)
    keys = [LOG, META, STATE, PARKED, PARKED_KEYS]
    case.note("events 1 and 3 are of alice; 2 is of bob, and is processed in between")
    first: list[Word] = ["park", 100, 1, *parked_entry("alice", "<e>")]
    case.call("transact", *commit_args("0-0", "<e>", 1), *first, keys=keys, gives=[1, 0])
    case.call("commit", *commit_args("<e>", "<e+1>", 1), gives=[1, 0])
    third: list[Word] = ["park", 100, 1, *parked_entry("alice", "<e+2>", "3")]
    case.call("transact", *commit_args("<e+1>", "<e+2>", 1), *third, keys=keys, gives=[1, 0])
    case.redis("HGETALL", PARKED_KEYS, gives=["alice", "2"])
    case.note("an operator has the key replayed; the owner is fenced, because it knows the keys")
    case.call("replay", NONCE2, "alice", gives=[1])
    case.refused("FENCED epoch=<ended>", "commit", *commit_args("<e+2>", "<e+3>", 1))
    at_end: dict[str, Value] = {"checkpoint": "<e+2>", "processed": 3, "checkpoint_exists": 1}
    claimed(case, 11, nonce=NONCE3, epoch=Int("<second>"), **at_end, next_id="", parked=2, replay=1)
    values = _values("alice", "<e>", "1")
    case.redis("XRANGE", PARKED, "-", "+", "COUNT", 1, gives=["<p>", *values])
    done: list[Word] = [
        *commit_args("<e+2>", "<e+2>", 0, epoch="<second>", nonce=NONCE3),
        "replayed",
        1,
        "<p>",
    ]
    case.call("transact", *done, keys=[*keys, REPLAY], gives=[1, 0])
    case.note("the second fails again: the key stays parked with it")
    case.call("park_again", "<second>", NONCE3, "alice", "<e+2> 4 ValueError no", gives=[1])
    case.redis("HGET", PARKED_KEYS, "alice", gives=["1 <e+2> 4 ValueError no\n1 <replayed>"])
    shows(case, STATE, parked="1", parked_keys="1", replay="0")
    case.note("it is dropped in the end, and the key is free")
    case.redis("XRANGE", PARKED, "-", "+", gives=["<q>", *_values("alice", "<e+2>", "3")])
    case.call("drop_parked", NONCE, "<q>", gives=[1])
    shows(case, STATE, parked="0", parked_keys="0", checkpoint="<e+2>", processed="3")
    return case


CASES = (quarantine, poison, failure_is_no_death, parked_key)
