"""Events that disappear before they were processed."""

from __future__ import annotations

from typing import Any

from tests.conformance.cases import Case, Int, Status
from tests.conformance.keys import LOG, META, STATE
from tests.conformance.steps import (
    CONTRACT,
    appended,
    claimed,
    commit_args,
    committed,
    group,
    ready,
    shows,
)


def trimmed() -> Case:
    """Somebody trims the log beyond a checkpoint."""
    case = Case("loss: a log that others have trimmed")
    ready(case, 5)
    committed(case, "0-0", "<e>", 1)
    case.redis("XTRIM", LOG, "MINID", "<e+3>", gives=[3])
    case.note("the look at the cursor finds nothing")
    case.redis("XRANGE", LOG, "<e>", "<e>", "COUNT", 1, gives=[])
    case.note("the same claim again tells how many events are lost; nothing changes yet")
    at: dict[str, Any] = {"checkpoint": "<e>", "processed": 1, "next_id": "<e+3>"}
    claimed(case, 10, **at, lost=2)
    shows(case, STATE, lost=None, read="1")
    case.note("a wrong number accepts nothing")
    claimed(case, 10, accept=1, **at, lost=2)
    claimed(case, 10, accept=2, **at)
    shows(case, STATE, lost="2", read="3", checkpoint="<e>")
    group(case, "<e>", 3, 2)
    case.note("accepted once: a repeat has nothing more to accept")
    claimed(case, 10, accept=2, **at)
    shows(case, STATE, lost="2", read="3")
    committed(case, "<e>", "<e+4>", 2)
    shows(case, STATE, read="5", processed="3")
    return case


def all_gone() -> Case:
    """Every event is deleted."""
    case = Case("loss: a log that others have emptied")
    ready(case)
    committed(case, "0-0", "<e>", 1)
    case.redis("XTRIM", LOG, "MAXLEN", 0, gives=[3])
    at: dict[str, Any] = {"checkpoint": "<e>", "processed": 1, "next_id": ""}
    claimed(case, 10, **at, lost=2)
    claimed(case, 10, accept=2, **at)
    appended(case, 1, "f", sequence=2)
    case.note("the next event is no loss")
    claimed(case, 10, **(at | {"next_id": "<f>"}))
    committed(case, "<e>", "<f>", 1)
    shows(case, STATE, lost="2", read="4", processed="2")
    return case


def dropped() -> Case:
    """drop_oldest removes what the owner has read and not committed."""
    case = Case("loss: drop_oldest removes what was not committed")
    ready(case, 2)
    appended(case, 2, "f", sequence=2, size=3, when_full="drop_oldest")
    shows(case, META, dropped__printer="1")
    case.note("it has read the first event and commits it all the same: that is no conflict")
    committed(case, "0-0", "<e>", 1)
    case.redis("XRANGE", LOG, "<e>", "<e>", "COUNT", 1, gives=[])
    at: dict[str, Any] = {"checkpoint": "<e>", "processed": 1, "next_id": "<e+1>"}
    case.note("nothing between its checkpoint and the first entry is missing")
    claimed(case, 10, **at)
    committed(case, "<e>", "<f+1>", 3)
    shows(case, STATE, read="4", processed="4", lost=None)
    return case


def deleted_log() -> Case:
    """The log is deleted as a whole."""
    case = Case("loss: a log that others have deleted")
    ready(case)
    committed(case, "0-0", "<e>", 1)
    case.redis("DEL", LOG, gives=[1])
    case.refused("MISSING processor=printer", "commit", *commit_args("<e>", "<e+1>", 1))
    case.note("register restores the log above the old ids: no number tells what was in it")
    case.call("register", *CONTRACT, "printer", "0", gives=[2, "<e>"])
    at: dict[str, Any] = {"checkpoint": "<e>", "processed": 1, "next_id": ""}
    claimed(case, 10, **at)
    appended(case, 1, "f", sequence=2)
    case.rises("<e>", "<f>")
    committed(case, "<e>", "<f>", 1)
    return case


def went_back() -> Case:
    """A server that lost the last writes has taken over."""
    case = Case("loss: a log that went back before the checkpoint")
    ready(case)
    committed(case, "0-0", "<e+2>", 3)
    case.note("the log as it was: one event, whose id is smaller than the checkpoint")
    case.redis("DEL", LOG, gives=[1])
    case.redis("XADD", LOG, "<e>", "json", "1", gives=["<e>"])
    case.redis("XGROUP", "CREATE", LOG, "printer", "<e>", gives=[Status("OK")])
    at: dict[str, Any] = {"checkpoint": "<e+2>", "processed": 3, "next_id": ""}
    claimed(case, 10, **at, lost=0, exact=0)
    case.note("the number is unknown; all events that are left are processed")
    claimed(case, 10, accept=0, processed=3)
    shows(case, STATE, checkpoint="0-0", lost="0")
    committed(case, "0-0", "<e>", 1)
    return case


def commit_behind_the_end() -> Case:
    """A commit of an event that a failover has lost."""
    case = Case("loss: a commit of an event that the server has lost")
    ready(case)
    committed(case, "0-0", "<e>", 1)
    case.redis("XDEL", LOG, "<e+2>", gives=[1])
    case.refused("CONFLICT checkpoint=<e> missing=<e+2>", "commit", *commit_args("<e>", "<e+2>", 2))
    case.note("the event before it can be committed")
    committed(case, "<e>", "<e+1>", 1)
    at: dict[str, Any] = {"checkpoint": "<e+1>", "processed": 2, "checkpoint_exists": 1}
    claimed(case, 10, **at, next_id="", lost=1)
    claimed(case, 10, accept=1, **at, next_id="")
    shows(case, STATE, lost="1", read="3")
    return case


def lost_state() -> Case:
    """The state of a processor was deleted."""
    case = Case("loss: the state of a processor was deleted")
    ready(case)
    committed(case, "0-0", "<e+1>", 2)
    case.redis("DEL", STATE, gives=[1])
    case.refused("FENCED epoch=0", "commit", *commit_args("<e+1>", "<e+2>", 1))
    case.call("register", *CONTRACT, "printer", "0", gives=[2, "<e+1>"])
    at: dict[str, Any] = {"checkpoint": "<e+1>", "checkpoint_exists": 1, "next_id": "<e+2>"}
    claimed(case, 11, **at, epoch=Int("<second>"))
    args = commit_args("<e+1>", "<e+2>", 1, epoch="<second>")
    case.call("commit", *args, gives=[1, 0])
    shows(case, STATE, read="3", processed="1")
    return case


CASES = (trimmed, all_gone, dropped, deleted_log, went_back, commit_behind_the_end, lost_state)
