"""claim, commit, attempt."""

from __future__ import annotations

from itertools import pairwise

from tests.conformance.cases import Case, Int, Word
from tests.conformance.keys import BALANCES, DEAD_LOG, LOG, META, PARKED, PARKED_KEYS, STATE
from tests.conformance.steps import (
    CLAIMED,
    CONTRACT,
    NONCE,
    NONCE2,
    NONCE3,
    claim_args,
    claimed,
    commit_args,
    committed,
    group,
    parked_entry,
    ready,
    registered,
    shows,
)


def claim() -> Case:
    """A grant becomes a lease."""
    case = Case("claim: a grant becomes a lease with a new token")
    registered(case)
    claimed(case)
    case.note("the same grant and nonce again: the reply was lost; the token stays")
    case.again("claim", *claim_args(10), gives=[*CLAIMED.values()])
    shows(case, STATE, owner="w1", epoch="<epoch>", nonce=NONCE, grant="10", released="0")
    case.note("a grant is used once")
    case.refused("STALE_GRANT seen=10", "claim", *claim_args(10, NONCE2))
    case.refused("STALE_GRANT seen=10", "claim", *claim_args(9, NONCE2))
    case.note("a newer grant takes the lease from an owner that did not release it")
    changed = {"epoch": Int("<second>"), "unclean_tenures": 1, "previous_owner": "w1"}
    claimed(case, 11, member="w2", nonce=NONCE2, **changed)
    case.rises("<epoch>", "<second>")
    case.note("the old token is refused from now on")
    case.refused("FENCED epoch=<second>", "commit", *commit_args("0-0", "<e>", 1))
    case.note(
        "after a release there is no unclean tenure; the checkpoint is where the owner left it"
    )
    release = commit_args("0-0", "<e>", 1, 1, epoch="<second>", nonce=NONCE2)
    case.call("commit", *release, gives=[1, 0])
    moved = {"checkpoint": "<e>", "processed": 1, "checkpoint_exists": 1, "next_id": "<e+1>"}
    claimed(case, 12, nonce=NONCE3, **moved, epoch=Int("<third>"))
    case.rises("<second>", "<third>")
    return case


def epochs() -> Case:
    """Epochs rise, whatever the clock does."""
    case = Case("claim: epochs are at least the time, and rise although the clock goes back")
    ready(case)
    case.rises("1000000000000", "<epoch>")
    ahead = 9 * 10**14
    case.redis("HSET", STATE, "epoch", ahead, "released", "1", gives=[0])
    claimed(case, 11, nonce=NONCE2, epoch=ahead + 1)
    case.note("what ends a lease makes a new epoch, too")
    case.call("seek", "printer", "0", "", NONCE3, gives=["0-0", 0])
    shows(case, STATE, epoch=str(ahead + 2), nonce=NONCE3)
    case.redis("HSET", BALANCES, "alice", "5", gives=[1])
    case.call("clear_table", "printer", NONCE, gives=[1])
    shows(case, STATE, epoch=str(ahead + 3), nonce=NONCE)
    case.redis("HSET", PARKED_KEYS, "alice", "1", gives=[1])
    case.call("replay", NONCE2, "alice", gives=[1])
    shows(case, STATE, epoch=str(ahead + 4), nonce=NONCE2)
    case.redis("XADD", PARKED, "1-1", "key", "alice", gives=["1-1"])
    case.call("drop_parked", NONCE3, "1-1", gives=[1])
    shows(case, STATE, epoch=str(ahead + 5), nonce=NONCE3)
    case.redis("XADD", DEAD_LOG, "1-1", "json", "dead", gives=["1-1"])
    case.call("take_letters", NONCE, 100, "1-1", *parked_entry("alice", "<e>"), gives=[1])
    shows(case, STATE, epoch=str(ahead + 6), nonce=NONCE)
    claimed(case, 12, nonce=NONCE2, epoch=ahead + 7, parked=1, replay=1)
    return case


def claim_refused() -> Case:
    """What is refused."""
    case = Case("claim: refused calls")
    case.malformed(
        "claim",
        claim_args(10),
        [
            (1, "one", "protocol"),
            (4, "", "processor"),
            (5, "", "member"),
            (6, 0, "grant"),
            (6, "1.5", "grant"),
            (7, "short", "nonce"),
            (7, "n" * 65, "nonce"),
            (8, "-1", "accept"),
        ],
    )
    case.refused("BADARG field=count keys=3 argv=7", "claim", *claim_args(10)[:7])
    case.refused("UNREGISTERED processor=printer removed=0", "claim", *claim_args(10))
    registered(case, 1)
    case.refused("MISMATCH field=partitions stored=8 given=9", "claim", 1, 9, *claim_args(10)[2:])
    case.note("the consumer group was lost: register, then claim again")
    case.redis("XGROUP", "DESTROY", LOG, "printer", gives=[1])
    case.refused("MISSING processor=printer", "claim", *claim_args(10))
    case.call("register", *CONTRACT, "printer", "0", gives=[2, "0-0"])
    claimed(case)
    case.note("an operator has removed the processor")
    case.redis("HDEL", META, "checkpoint:printer", gives=[1])
    case.redis("HSET", META, "removed:printer", 1234, gives=[1])
    case.refused("UNREGISTERED processor=printer removed=1", "claim", *claim_args(11))
    return case


def commit() -> Case:
    """The checkpoint moves."""
    case = Case("commit: the checkpoint moves, and the consumer group with it")
    ready(case)
    case.call("commit", *commit_args("0-0", "<e+1>", 2), gives=[1, 0])
    case.note("state and meta have it; read and processed count")
    shows(
        case, STATE, checkpoint="<e+1>", read="2", processed="2", released="0", unclean_tenures="0"
    )
    shows(case, META, checkpoint__printer="<e+1>")
    group(case, "<e+1>", 2, 1)
    case.again("commit", *commit_args("0-0", "<e+1>", 2), gives=[0, 0])
    case.note("prev must be the checkpoint, and next larger")
    case.refused("CONFLICT checkpoint=<e+1>", "commit", *commit_args("0-0", "<e+2>", 3))
    case.refused("BADARG field=next", "commit", *commit_args("<e+1>", "<e>", 0))
    case.note("an event that does not exist cannot be the checkpoint")
    missing = commit_args("<e+1>", "<e+9>", 1)
    case.refused("CONFLICT checkpoint=<e+1> missing=<e+9>", "commit", *missing)
    case.note("release only: next is prev, and the count 0")
    case.call("commit", *commit_args("<e+1>", "<e+1>", 0, 1), gives=[1, 0])
    shows(case, STATE, checkpoint="<e+1>", read="2", released="1")
    case.again("commit", *commit_args("<e+1>", "<e+1>", 0, 1), gives=[0, 0])
    case.note("a released token is none")
    case.refused("FENCED epoch=<epoch> released=1", "commit", *commit_args("<e+1>", "<e+2>", 1))
    case.refused("FENCED epoch=<epoch> released=1", "commit", *commit_args("<e>", "<e+1>", 1))
    case.refused("FENCED epoch=<epoch> released=1", "commit", *commit_args("<e+1>", "<e+2>", 1, 1))
    return case


def commit_with_release() -> Case:
    """The last commit of a lease."""
    case = Case("commit: the last commit of a lease releases it")
    ready(case)
    case.call("commit", *commit_args("0-0", "<e>", 1, 1), gives=[1, 0])
    case.again("commit", *commit_args("0-0", "<e>", 1, 1), gives=[0, 0])
    case.note("paused by an operator: the commit is applied, and says so")
    claimed(
        case, 11, nonce=NONCE2, checkpoint="<e>", processed=1, checkpoint_exists=1,
        next_id="<e+1>", epoch=Int("<second>"),
    )  # fmt: skip
    case.call("pause", gives=[1])
    args = commit_args("<e>", "<e+1>", 1, epoch="<second>", nonce=NONCE2)
    case.call("commit", *args, gives=[1, 1])
    case.again("commit", *args, gives=[0, 1])
    return case


def commit_before_the_first() -> Case:
    """An event that stands before all that the log has."""
    case = Case("commit: an event before the first of the log was trimmed, or never there")
    registered(case, 0)
    claimed(case, next_id="")
    case.note("5-0 came from a former primary; its producer has sent it again, as 6-0")
    for each in ("6-0", "7-0"):
        case.redis("XADD", LOG, each, "json", "1", gives=[each])
    gone = "CONFLICT checkpoint=0-0 missing="
    case.note("no entry was removed from this log, so 5-0 was never in it")
    case.refused(f"{gone}5-0", "commit", *commit_args("0-0", "5-0", 1))
    case.refused(f"{gone}5-0", "commit", *commit_args("0-0", "5-0", 1, 1))
    case.note("one entry was removed: of two that were read, one was never there")
    case.redis("XTRIM", LOG, "MINID", "7-0", gives=[1])
    case.refused(f"{gone}5-1", "commit", *commit_args("0-0", "5-1", 2))
    case.note("as many were removed as were read: they were trimmed, and the commit is right")
    committed(case, "0-0", "5-0", 1)
    shows(case, STATE, checkpoint="5-0", read="1", processed="1")
    group(case, "5-0", 1, 1)
    return case


def commit_refused() -> Case:
    """What is refused."""
    case = Case("commit: refused calls")
    case.refused("FENCED epoch=0", "commit", *commit_args("0-0", "1-1", 1, epoch=1))
    ready(case)
    case.malformed(
        "commit",
        commit_args("0-0", "<e>", 1),
        [(5, "one", "next"), (6, "-1", "count"), (6, "1.5", "count"), (7, 2, "release")],
    )
    case.refused("BADARG field=count keys=3 argv=6", "commit", *commit_args("0-0", "<e>", 1)[:6])
    case.note("both parts of the token count")
    fenced = commit_args("0-0", "<e>", 1, nonce=NONCE2)
    case.refused("FENCED epoch=<epoch>", "commit", *fenced)
    case.refused("FENCED epoch=<epoch>", "commit", *commit_args("0-0", "<e>", 1, epoch="<epoch+1>"))
    case.note("the consumer group was lost")
    case.redis("XGROUP", "DESTROY", LOG, "printer", gives=[1])
    case.refused("MISSING processor=printer", "commit", *commit_args("0-0", "<e>", 1))
    case.call("register", *CONTRACT, "printer", "0", gives=[2, "0-0"])
    case.note("the checkpoint in meta was lost")
    case.redis("HDEL", META, "checkpoint:printer", gives=[1])
    case.refused("MISSING processor=printer", "commit", *commit_args("0-0", "<e>", 1))
    return case


def attempt() -> Case:
    """Failures and starts are recorded, so that the next owner knows."""
    case = Case("attempt: failures and starts are known to the next owner")
    ready(case)
    token: list[Word] = ["<epoch>", NONCE]
    failed: list[Word] = [*token, "failure", "<e>", 2, "ValueError", "no such order"]
    case.call("attempt", *failed, gives=[0])
    shows(case, STATE, event="<e>", attempts="2", started="", deaths="0", error_type="ValueError")
    shows(case, STATE, error_message="no such order", error_event="<e>", error_at="<now>")
    case.note("an operator has paused the processor")
    case.call("pause", gives=[1])
    case.call("attempt", *failed, gives=[1])
    case.call("attempt", *token, "wait", "0-0", 0, "alerts", "FULL", gives=[1])
    case.call("resume", gives=[1])
    case.call("attempt", *token, "start", "<e>", 2, "", "", gives=[0])
    shows(case, STATE, event="<e>", attempts="2", started="<e>")
    case.again("attempt", *token, "start", "<e>", 2, "", "", gives=[0])
    case.note("the owner dies after a start: the event may have killed it")
    dead = {"attempts": 3, "event": "<e>", "unclean_tenures": 1, "deaths": 1}
    claimed(case, 11, member="w2", nonce=NONCE2, epoch=Int("<second>"), previous_owner="w1", **dead)
    case.refused("FENCED epoch=<second>", "attempt", *failed)
    case.note("a commit past the event forgets its failures")
    args = commit_args("0-0", "<e>", 1, epoch="<second>", nonce=NONCE2)
    case.call("commit", *args, gives=[1, 0])
    shows(case, STATE, event="", attempts="0", deaths="0", error_type=None, unclean_tenures="0")
    return case


def commit_before_a_failure() -> Case:
    """A commit of events before the one that has failed."""
    case = Case("commit: failures of a later event stay recorded")
    ready(case)
    token: list[Word] = ["<epoch>", NONCE]
    case.call("attempt", *token, "failure", "<e+1>", 2, "ValueError", "no", gives=[0])
    committed(case, "0-0", "<e>", 1)
    shows(case, STATE, event="<e+1>", attempts="2", error_type="ValueError")
    committed(case, "<e>", "<e+1>", 1)
    shows(case, STATE, event="", attempts="0", error_type=None)
    return case


def numbers_of_ids() -> Case:
    """Ids are two numbers, of any length up to 64 bits."""
    case = Case("commit: ids are compared as numbers")
    most = 2**64 - 1
    ids = ["9-9", "9-10", "10-1", f"10-{most - 1}", f"10-{most}", "11-0", f"{most}-{most}"]
    for each in ids:
        case.redis("XADD", LOG, each, "json", "1", gives=[each])
    case.call("register", *CONTRACT, "printer", "0", gives=[1, "0-0"])
    claimed(case, next_id="9-9")
    for prev, next_id in pairwise(["0-0", *ids]):
        committed(case, prev, next_id, 1)
        if prev != "0-0":
            case.refused("BADARG field=next", "commit", *commit_args(next_id, prev, 1))
    return case


def attempt_kinds() -> Case:
    """Quarantine and waiting; malformed calls."""
    case = Case("attempt: quarantine, waiting for room, refused calls")
    ready(case)
    token: list[Word] = ["<epoch>", NONCE]
    waiting: list[Word] = [*token, "wait", "0-0", 0, "alerts", "FULL processor=mailer"]
    case.call("attempt", *waiting, gives=[0])
    shows(case, STATE, wait_at="0-0", wait_for="alerts", wait_reason="FULL processor=mailer")
    shows(case, STATE, wait_since="<since>")
    case.again("attempt", *waiting, gives=[0])
    case.call("attempt", *token, "quarantine", "<e>", 4, "ValueError", "no", gives=[0])
    shows(case, STATE, quarantined="1", event="<e>", attempts="4", error_message="no")
    case.malformed(
        "attempt",
        [*token, "failure", "<e>", 1, "E", "m"],
        [
            (3, "explode", "kind"),
            (4, "one", "event"),
            (5, "many", "attempts"),
            (5, "-1", "attempts"),
            (6, "E" * 1001, "error_type limit=1000"),
            (7, "m" * 4001, "error_message limit=4000"),
        ],
    )
    case.refused("BADARG field=count keys=1 argv=6", "attempt", *token, "failure", "<e>", 1, "E")
    committed(case, "0-0", "<e>", 1, release=1)
    case.refused("FENCED epoch=<epoch>", "attempt", *token, "failure", "<e+1>", 1, "E", "m")
    return case


CASES = (
    *(
        claim,
        epochs,
        claim_refused,
        commit,
        commit_with_release,
        commit_before_a_failure,
        numbers_of_ids,
    ),
    *(commit_before_the_first, commit_refused, attempt, attempt_kinds),
)
