"""Calls whose replies were lost."""

from __future__ import annotations

from tests.conformance.cases import Case, Int, Status, Value, Word
from tests.conformance.keys import (
    ALERTS_LOG,
    BALANCES,
    DEAD_LOG,
    DEAD_META,
    LOG,
    META,
    NUMBERS,
    OUTBOX,
    STATE,
    of,
)
from tests.conformance.steps import (
    CLAIMED,
    CONTRACT,
    NONCE,
    NONCE2,
    append_args,
    appended,
    claim_args,
    claimed,
    commit_args,
    committed,
    entries,
    ready,
    registered,
    transacted,
)
from tests.conformance.transcripts.groups import answer, joined, sync_args


def lost_replies() -> Case:
    """Each call of a life, twice."""
    case = Case("lost reply: every call of a worker and a producer is sent twice")
    case.call("declare", *CONTRACT, gives=[1])
    case.again("declare", *CONTRACT, gives=[0])
    args = append_args("1", "2")
    case.call("append", *args, gives=[1, "<e>", 2])
    case.again("append", *args, gives=[0, "<e>", 2])
    case.call("register", *CONTRACT, "printer", "0", gives=[1, "0-0"])
    case.again("register", *CONTRACT, "printer", "0", gives=[0, "0-0"])
    joined(case)
    own: tuple[Value, ...] = (0, Int("<g>"), 1, 1, Int("<g+1>"), 1)
    case.again("sync", *sync_args(1), gives=answer(1, 1, *own))
    claimed(case)
    case.again("claim", *claim_args(10), gives=[*CLAIMED.values()])
    case.call("commit", *commit_args("0-0", "<e>", 1), gives=[1, 0])
    case.again("commit", *commit_args("0-0", "<e>", 1), gives=[0, 0])
    case.call("commit", *commit_args("<e>", "<e+1>", 1, 1), gives=[1, 0])
    case.again("commit", *commit_args("<e>", "<e+1>", 1, 1), gives=[0, 0])
    case.call("sync", *sync_args(2, action="leave"), gives=answer(2, 2))
    case.again("sync", *sync_args(2, action="leave"), gives=answer(2, 2))
    case.redis("XLEN", LOG, gives=[2])
    case.redis("HMGET", STATE, "read", "processed", gives=["2", "2"])
    return case


def repeat_behind_a_newer_lease() -> Case:
    """The lease moved before the repeat arrived."""
    case = Case("lost reply: the lease moved before the repeat arrived")
    ready(case)
    case.call("commit", *commit_args("0-0", "<e>", 1), gives=[1, 0])
    moved = {"checkpoint": "<e>", "processed": 1, "checkpoint_exists": 1, "next_id": "<e+1>"}
    stolen = {"unclean_tenures": 1, "previous_owner": "w1"}
    claimed(case, 11, member="w2", nonce=NONCE2, epoch=Int("<second>"), **moved, **stolen)
    case.note("the repeat is fenced; the commit is there all the same, and counted once")
    case.refused("FENCED epoch=<second>", "commit", *commit_args("0-0", "<e>", 1))
    case.redis("HMGET", STATE, "checkpoint", "processed", gives=["<e>", "1"])
    case.note("a late repeat of the claim takes nothing back")
    case.refused("STALE_GRANT seen=11", "claim", *claim_args(10))
    return case


def noscript() -> Case:
    """The server has forgotten its scripts."""
    case = Case("NOSCRIPT: nothing ran; load the script and send the call again")
    ready(case)
    committed(case, "0-0", "<e>", 1)
    args = commit_args("<e>", "<e+1>", 1)
    case.redis("SCRIPT", "FLUSH", gives=[Status("OK")])
    case.unknown("commit", *args)
    case.redis("HGET", STATE, "checkpoint", gives=["<e>"])
    case.load("commit")
    case.call("commit", *args, gives=[1, 0])
    case.note("it can happen again at any time, as between a call and its repeat")
    case.redis("SCRIPT", "FLUSH", gives=[Status("OK")])
    case.unknown("commit", *args)
    case.load("commit")
    case.call("commit", *args, gives=[0, 0])
    return case


def effects_repeated() -> Case:
    """A commit with effects, and its repeats."""
    case = Case("effects repeated: tables and entries are written once")
    ready(case)
    sink = [DEAD_LOG, DEAD_META]
    effects: list[Word] = ["table", 1, 0, "alice", "5", "derived", 100, "refuse", 1, *entries("x")]
    keys = [LOG, META, STATE, BALANCES, *sink]
    args = [*commit_args("0-0", "<e>", 1), *effects]
    case.call("transact", *args, keys=keys, gives=[1, 0])
    case.again("transact", *args, keys=keys, gives=[0, 0])
    case.note("the owner dies after the next one, without its reply; the event is committed")
    more: list[Word] = ["table", 1, 0, "alice", "6", "derived", 100, "refuse", 1, *entries("y")]
    transacted(case, [BALANCES, *sink], *more, prev="<e>", next_id="<e+1>")
    moved = {"checkpoint": "<e+1>", "processed": 2, "checkpoint_exists": 1, "next_id": "<e+2>"}
    stolen = {"unclean_tenures": 1, "previous_owner": "w1"}
    claimed(case, 11, member="w2", nonce=NONCE2, epoch=Int("<second>"), **moved, **stolen)
    again = [*commit_args("<e>", "<e+1>", 1), *more]
    case.refused("FENCED epoch=<second>", "transact", *again, keys=keys)
    case.redis("HGETALL", BALANCES, gives=["alice", "6"])
    case.redis("XRANGE", DEAD_LOG, "-", "+", gives=["<x>", "json", "x", "<y>", "json", "y"])
    return case


def outbox_forwarded() -> Case:
    """What an outbox has is forwarded once, whoever does it how often."""
    case = Case("outbox: what waits in it is forwarded once")
    ready(case)
    entry: list[Word] = [4, "to", "alerts 0 4 xxh64 100", "json", "low"]
    transacted(case, [OUTBOX], "outbox", 100, 2, *entry, *entry)
    log, meta, numbers = (
        each.replace("orders:3}:orders", "alerts:0}:alerts") for each in (LOG, META, NUMBERS)
    )
    sender = "outbox:orders:3:printer"
    head: list[Word] = [1, 4, "xxh64", 100, "refuse", sender]
    first: list[Word] = [*head, "<epoch>-1", 2, "json", "low"]
    target = [log, meta, numbers]
    assert log == ALERTS_LOG
    case.call("append_numbered", *first, keys=target, gives=[1, "<a>", 1, "<epoch>-1"])
    case.note("the owner dies before it trims; the next one forwards both, in another call")
    dead = {"checkpoint": "<e>", "processed": 1, "checkpoint_exists": 1, "next_id": "<e+1>"}
    stolen = {"unclean_tenures": 1, "previous_owner": "w1", "outbox": 2}
    claimed(case, 11, member="w2", nonce=NONCE2, epoch=Int("<second>"), **dead, **stolen)
    both: list[Word] = [*first, "<epoch>-2", 2, "json", "low"]
    case.call("append_numbered", *both, keys=target, gives=[1, "<b>", 1, "<epoch>-2"])
    case.again("append_numbered", *both, keys=target, gives=[0, "<b>", 1, "<epoch>-2"])
    case.redis("XLEN", log, gives=[2])
    trimmed: list[Word] = ["<second>", NONCE2, "<epoch>-2", 2, 0, "", ""]
    case.call("trim_outbox", *trimmed, gives=[2, 0])
    case.again("trim_outbox", *trimmed, gives=[0, 0])
    case.refused("FENCED epoch=<second>", "trim_outbox", "<epoch>", NONCE, *trimmed[2:])
    return case


def sender_restarts() -> Case:
    """A producer without memory of what it sent."""
    case = Case("restart of a producer: another id, or numbers of its own")
    registered(case, 2)
    case.note("a producer that does not know whether its append was applied takes a new id")
    appended(case, 1, "f", producer="till-2")
    case.note("a sender begins somewhere before its last event: what is there is left out")
    head: list[Word] = [*CONTRACT, 1000, "refuse", "producer:till"]
    events: list[Word] = ["0-1", *entries("a"), "0-2", *entries("b")]
    case.call("append_numbered", *head, *events, gives=[2, "<g>", 2, "0-2"])
    other: list[Word] = ["0-2", *entries("b"), "0-3", *entries("c")]
    case.call("append_numbered", *head, *other, gives=[1, "<h>", 1, "0-3"])
    case.note("a natural key does it without numbers")
    once: list[Word] = [*CONTRACT, 1000, "refuse", 60000, *entries("order 17")]
    case.call("append_once", *once, gives=[1, "<i>", 1])
    case.again("append_once", *once, gives=[0, "<i>", 1])
    case.redis("XLEN", LOG, gives=[7])
    return case


def deleted_stream() -> Case:
    """A stream is deleted under its producer, and created again."""
    case = Case("deleted stream: declare partition 0, then the partition, then send again")
    appended(case, 1)
    case.call("delete", gives=[1])
    args = append_args("2", sequence=2)
    case.refused("MISSING deleted=<now>", "append", *args)
    zero = [META.replace(":3}", ":0}")]
    case.call("declare", *CONTRACT, keys=zero, gives=[1])
    case.call("declare", *CONTRACT, gives=[1])
    case.note("its numbers are forgotten with the stream: the producer takes a new id")
    case.refused("UNKNOWN_PRODUCER producer=till given=2", "append", *args)
    appended(case, 1, "f", producer="till-2")
    case.note("a key of append_once of the deleted stream counts for nothing")
    once: list[Word] = [*CONTRACT, 1000, "refuse", 60000, *entries("order 17")]
    case.call("append_once", *once, gives=[1, "<g>", 1])
    case.call("delete", gives=[2])
    case.redis("EXISTS", of("dedupe:order-17"), gives=[1])
    case.call("declare", *CONTRACT, gives=[1])
    case.call("append_once", *once, gives=[1, "<h>", 1])
    committed_nothing: list[Word] = ["printer", 1, NONCE, "0-0", "<h>", 1, 0]
    case.refused("FENCED epoch=0", "commit", *committed_nothing)
    return case


CASES = (
    *(lost_replies, repeat_behind_a_newer_lease, noscript, effects_repeated, outbox_forwarded),
    *(sender_restarts, deleted_stream),
)
