"""pause, resume, acknowledge, remove."""

from __future__ import annotations

from tests.conformance.cases import Case, Int, Word
from tests.conformance.keys import LOG, META, OUTBOX, PARKED, PARKED_KEYS, STATE
from tests.conformance.steps import (
    NONCE,
    NONCE2,
    claim_args,
    claimed,
    parked,
    ready,
    shows,
    transacted,
)


def pause() -> Case:
    """An operator stops a processor."""
    case = Case("pause: a processor is stopped on a partition")
    case.refused("UNREGISTERED processor=printer", "pause")
    ready(case)
    case.call("pause", gives=[1])
    shows(case, STATE, paused="1", epoch="<epoch>", released="0")
    case.again("pause", gives=[0])
    case.refused("BADARG field=count keys=1 argv=1", "pause", "now")
    case.note("the lease stays, and the next owner is told")
    dead = {"unclean_tenures": 1, "previous_owner": "w1"}
    claimed(case, 11, nonce=NONCE2, epoch=Int("<second>"), paused=1, **dead)
    return case


def resume() -> Case:
    """A pause or a quarantine ends."""
    case = Case("resume: a pause or a quarantine ends, and its failures are forgotten")
    case.refused("UNREGISTERED processor=printer", "resume")
    ready(case)
    case.reads("resume", gives=[0])
    case.call("attempt", "<epoch>", NONCE, "quarantine", "<e>", 4, "ValueError", "no", gives=[0])
    case.call("resume", gives=[1])
    shows(case, STATE, paused="0", quarantined="0", attempts="0", event="", error_type=None)
    case.again("resume", gives=[0])
    case.call("pause", gives=[1])
    case.call("resume", gives=[1])
    case.refused("BADARG field=count keys=1 argv=1", "resume", "now")
    return case


def acknowledge() -> Case:
    """An operator has dealt with lost events."""
    case = Case("acknowledge: an operator has dealt with lost events")
    case.refused("UNREGISTERED processor=printer", "acknowledge", 2)
    ready(case)
    case.reads("acknowledge", 2, gives=[0])
    case.redis("HSET", STATE, "lost", 3, gives=[1])
    case.call("acknowledge", 2, gives=[2])
    shows(case, STATE, lost="3", lost_acknowledged="2")
    case.again("acknowledge", 2, gives=[0])
    case.note("no more than were lost")
    case.call("acknowledge", 9, gives=[1])
    shows(case, STATE, lost="3", lost_acknowledged="3")
    case.refused("BADARG field=lost", "acknowledge", "all")
    case.refused("BADARG field=count keys=1 argv=0", "acknowledge")
    return case


def remove() -> Case:
    """A registration ends."""
    case = Case("remove: the registration of a processor ends")
    parked(case)
    case.refused("BADARG field=processor", "remove", "")
    case.refused("BADARG field=processor", "remove")
    entry: list[Word] = [4, "to", "alerts 0 4 xxh64 100", "json", "low"]
    transacted(case, [OUTBOX], "outbox", 100, 1, *entry, prev="<e+1>", next_id="<e+2>")
    case.note("what waits in the outbox would be lost")
    case.refused(f"UNFORWARDED waiting=1 outbox={OUTBOX}", "remove", "printer")
    case.call("trim_outbox", "<epoch>", NONCE, "<epoch>-1", 1, 0, "", "", gives=[1, 0])
    case.call("remove", "printer", gives=[1])
    case.redis("EXISTS", STATE, OUTBOX, PARKED, PARKED_KEYS, gives=[0])
    case.redis("XLEN", LOG, gives=[3])
    case.redis("XINFO", "GROUPS", LOG, gives=[])
    shows(case, META, checkpoint__printer=None, removed__printer="<now>", protocol="1")
    case.again("remove", "printer", gives=[0])
    case.refused("UNREGISTERED processor=printer removed=1", "claim", *claim_args(11))
    return case


CASES = (pause, resume, acknowledge, remove)
