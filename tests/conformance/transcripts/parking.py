"""transact with park and replayed; replay, park_again, drop_parked, take_letters."""

from __future__ import annotations

from tests.conformance.cases import Case, Int, Word
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
    CONTRACT,
    NONCE,
    NONCE2,
    NONCE3,
    claimed,
    commit_args,
    parked,
    parked_entry,
    ready,
    shows,
)

PARK = [LOG, META, STATE, PARKED, PARKED_KEYS]
REPLAYED = [*PARK, REPLAY]


def park() -> Case:
    """Events are set aside with the commit that passes them."""
    case = Case("transact: events are parked with the commit that passes them")
    parked(case)
    case.note("the checkpoint passes them; each key counts its events")
    shows(case, STATE, checkpoint="<e+1>", processed="2", parked="2", parked_keys="2", replay=None)
    case.redis("HMGET", PARKED_KEYS, "alice", "bob", gives=["1", "1"])
    events = [*parked_entry("alice", "<e>"), *parked_entry("bob", "<e+1>", "2")]
    args: list[Word] = [*commit_args("0-0", "<e+1>", 2), "park", 100, 2, *events]
    case.again("transact", *args, keys=PARK, gives=[0, 0])
    case.note("no room for more: the commit waits")
    third: list[Word] = [*parked_entry("alice", "<e+2>", "3")]
    more = commit_args("<e+1>", "<e+2>", 1)
    full = f"FULL processor= limit=2 sink={PARKED}"
    case.refused(full, "transact", *more, "park", 2, 1, *third, keys=PARK)
    case.refused(
        "BADARG field=entries at=11", "transact", *more, "park", 100, 1, 2, "json", "3", keys=PARK
    )
    case.call("transact", *more, "park", 100, 1, *third, keys=PARK, gives=[1, 0])
    case.redis("HMGET", PARKED_KEYS, "alice", "bob", gives=["2", "1"])
    return case


def replay() -> Case:
    """Parked events are processed after all."""
    case = Case("replay: the parked events of a key are processed, then the key is free")
    parked(case)
    case.note("a key that is not parked is passed over")
    case.call("replay", NONCE2, "alice", "carol", gives=[1])
    case.redis("HGETALL", REPLAY, gives=["alice", "1"])
    shows(case, STATE, replay="1", released="1", epoch="<ended>")
    case.again("replay", NONCE2, "alice", "carol", gives=[0])
    case.refused("FENCED epoch=<ended>", "commit", *commit_args("<e+1>", "<e+2>", 1))
    case.rises("<epoch>", "<ended>")
    case.malformed("replay", [NONCE3, "alice"], [(1, "short", "nonce")])
    case.refused("BADARG field=count keys=3 argv=1", "replay", NONCE3)
    changed = {"checkpoint": "<e+1>", "processed": 2, "checkpoint_exists": 1, "next_id": "<e+2>"}
    claimed(case, 11, nonce=NONCE3, epoch=Int("<second>"), **changed, parked=2, replay=1)
    case.note("a replayed event is finished: prev and next are the checkpoint, and the count is 0")
    args: list[Word] = [
        *commit_args("<e+1>", "<e+1>", 0, epoch="<second>", nonce=NONCE3),
        "replayed",
        1,
        "<p1>",
    ]
    case.call("transact", *args, keys=REPLAYED, gives=[1, 0])
    case.redis(
        "XRANGE", PARKED, "-", "+", "COUNT", 9, gives=["<p2>", *_values("bob", "<e+1>", "2")]
    )
    case.redis("HMGET", PARKED_KEYS, "alice", "bob", gives=[None, "1"])
    case.redis("EXISTS", REPLAY, gives=[0])
    shows(case, STATE, parked="1", parked_keys="1", replay="0", checkpoint="<e+1>", processed="2")
    case.again("transact", *args, keys=REPLAYED, gives=[0, 0])
    case.note("an entry that never was there")
    wrong = [
        *commit_args("<e+1>", "<e+2>", 1, epoch="<second>", nonce=NONCE3),
        "replayed",
        1,
        "<p1>",
    ]
    case.refused("CONFLICT checkpoint=<e+1> missing=<p1>", "transact", *wrong, keys=REPLAYED)
    return case


def _values(key: str, event: str, payload: str) -> list[str]:
    return [str(each) for each in parked_entry(key, event, payload)[1:]]


def park_again() -> Case:
    """A replayed event has failed again."""
    case = Case("park_again: a key stays parked whose replay has failed")
    parked(case)
    case.call("replay", NONCE2, "alice", "bob", gives=[2])
    changed = {"checkpoint": "<e+1>", "processed": 2, "checkpoint_exists": 1, "next_id": "<e+2>"}
    claimed(case, 11, nonce=NONCE3, epoch=Int("<second>"), **changed, parked=2, replay=2)
    args: list[Word] = ["<second>", NONCE3, "alice", "<e> 4 ValueError still no"]
    case.call("park_again", *args, gives=[1])
    case.note("it tells how many replays have failed, and when the last one did")
    case.redis("HGET", PARKED_KEYS, "alice", gives=["1 <e> 4 ValueError still no\n1 <replayed>"])
    case.redis("HKEYS", REPLAY, gives=["bob"])
    shows(case, STATE, replay="1", parked="2")
    case.again("park_again", *args, gives=[0])
    case.note("a repeat of the replay that comes late does not begin another one")
    case.again("replay", NONCE2, "alice", "bob", gives=[0])
    case.malformed("park_again", args, [(4, "why", "failure limit=1200")])
    case.refused("BADARG field=count keys=3 argv=3", "park_again", *args[:3])
    case.refused("FENCED epoch=<second>", "park_again", "<epoch>", NONCE, *args[2:])
    return case


def drop_parked() -> Case:
    """Parked events are deleted."""
    case = Case("drop_parked: parked events are deleted, and the lease ends")
    parked(case)
    case.note("what is gone is passed over")
    case.call("drop_parked", NONCE2, "<p1>", "1-1", gives=[1])
    case.redis("XLEN", PARKED, gives=[1])
    case.redis("HMGET", PARKED_KEYS, "alice", "bob", gives=[None, "1"])
    shows(case, STATE, parked="1", parked_keys="1", released="1", epoch="<ended>")
    case.again("drop_parked", NONCE2, "<p1>", "1-1", gives=[0])
    case.again("drop_parked", NONCE3, "<p1>", gives=[0])
    case.note("the nonce makes a repeat, whatever else it says")
    case.again("drop_parked", NONCE2, "<p2>", gives=[0])
    case.rises("<epoch>", "<ended>")
    case.refused("FENCED epoch=<ended>", "commit", *commit_args("<e+1>", "<e+2>", 1))
    case.malformed("drop_parked", [NONCE3, "<p2>"], [(1, "short", "nonce"), (2, "one", "ids at=2")])
    case.refused("BADARG field=count keys=5 argv=1", "drop_parked", NONCE3)
    return case


def take_letters() -> Case:
    """Dead letters are replayed or dropped."""
    case = Case("take_letters: dead letters become parked events that are replayed")
    ready(case)
    letters: list[Word] = [
        "derived",
        100,
        "refuse",
        3,
        2,
        "json",
        "a",
        2,
        "json",
        "b",
        2,
        "json",
        "c",
    ]
    args = [*commit_args("0-0", "<e+2>", 3), *letters]
    case.call("transact", *args, keys=[LOG, META, STATE, DEAD_LOG, DEAD_META], gives=[1, 0])
    found = ["<a>", "json", "a", "<b>", "json", "b", "<c>", "json", "c"]
    case.redis("XRANGE", DEAD_LOG, "-", "+", gives=found)
    case.note("the first is replayed, the second dropped; one that is gone is passed over")
    entry = parked_entry("alice", "<e>")
    taken: list[Word] = [NONCE2, 100, "<a>", *entry, "<b>", 0, "1-1", 0]
    case.call("take_letters", *taken, gives=[2])
    case.redis("XRANGE", DEAD_LOG, "-", "+", gives=["<c>", "json", "c"])
    case.redis("XRANGE", PARKED, "-", "+", gives=["<p>", *_values("alice", "<e>", "1")])
    case.redis("HGETALL", PARKED_KEYS, gives=["alice", "1"])
    case.redis("HGETALL", REPLAY, gives=["alice", "1"])
    shows(case, STATE, parked="1", parked_keys="1", replay="1", released="1", epoch="<ended>")
    case.again("take_letters", *taken, gives=[0])
    case.again("take_letters", NONCE2, 100, "<c>", 0, gives=[0])
    case.rises("<epoch>", "<ended>")
    case.refused("FENCED epoch=<ended>", "commit", *commit_args("<e+2>", "<e+3>", 1))
    case.malformed(
        "take_letters",
        [NONCE3, 100, "<c>", 0],
        [
            (1, "short", "nonce"),
            (2, 0, "size"),
            (3, "one", "taken at=3"),
            (4, 1, "taken at=3"),
        ],
    )
    case.refused("BADARG field=count keys=6 argv=3", "take_letters", NONCE3, 100, "<c>")
    case.refused("BADARG field=taken at=3", "take_letters", NONCE3, 100, "<c>", 2, "json", "c")
    replayed: list[Word] = [NONCE3, 1, "<c>", *parked_entry("bob", "<e+2>", "3")]
    case.refused(f"FULL processor= limit=1 sink={PARKED}", "take_letters", *replayed)
    case.note("a processor of the dead letters has not committed them")
    case.call(
        "register", *CONTRACT, "mailer", "0",
        keys=[DEAD_LOG, DEAD_META, DEAD_LOG.replace(":log", ":processor:mailer")], gives=[1, "0-0"],
    )  # fmt: skip
    case.refused("CONFLICT processor=mailer checkpoint=0-0", "take_letters", NONCE3, 100, "<c>", 0)
    case.redis("HDEL", DEAD_META, "checkpoint:mailer", gives=[1])
    case.note("nobody would process the event")
    case.redis("DEL", STATE, gives=[1])
    case.refused("UNREGISTERED processor=printer", "take_letters", NONCE3, 100, *replayed[2:])
    case.note("to drop it needs nobody")
    case.call("take_letters", NONCE3, 100, "<c>", 0, gives=[1])
    case.redis("XLEN", DEAD_LOG, gives=[0])
    return case


CASES = (park, replay, park_again, drop_parked, take_letters)
