"""transact with entries for other streams, trim_outbox."""

from __future__ import annotations

from tests.conformance.cases import Case, Word
from tests.conformance.keys import (
    ALERTS_LOG,
    ALERTS_META,
    BALANCES,
    DEAD_LOG,
    DEAD_META,
    LOG,
    META,
    OUTBOX,
    STATE,
)
from tests.conformance.steps import (
    CONTRACT,
    NONCE,
    NONCE2,
    appended,
    commit_args,
    entries,
    ready,
    shows,
    transacted,
)

SINK = [LOG, META, STATE, DEAD_LOG, DEAD_META]
LETTER: list[Word] = ["derived", 100, "refuse", 1, *entries("dead")]


def derived() -> Case:
    """A dead letter goes with the commit."""
    case = Case("transact: a dead letter and the commit, or neither")
    ready(case)
    args = [*commit_args("0-0", "<e>", 1), *LETTER]
    case.call("transact", *args, keys=SINK, gives=[1, 0])
    shows(case, STATE, checkpoint="<e>", read="1", processed="1")
    shows(case, META, checkpoint__printer="<e>")
    case.redis("XRANGE", DEAD_LOG, "-", "+", gives=["<letter>", "json", "dead"])
    case.note("the repeat adds no second letter")
    case.again("transact", *args, keys=SINK, gives=[0, 0])
    case.refused(
        "CONFLICT checkpoint=<e>", "transact", *commit_args("0-0", "<e+1>", 2), *LETTER, keys=SINK
    )
    missing = commit_args("<e>", "<e+9>", 1)
    case.refused("CONFLICT checkpoint=<e> missing=<e+9>", "transact", *missing, *LETTER, keys=SINK)
    case.note("a full sink refuses the whole commit")
    case.call(
        "register", *CONTRACT, "mailer", "0",
        keys=[DEAD_LOG, DEAD_META, DEAD_LOG.replace(":log", ":processor:mailer")], gives=[1, "0-0"],
    )  # fmt: skip
    full: list[Word] = ["derived", 2, "refuse", 1, *entries("dead")]
    transacted(case, [DEAD_LOG, DEAD_META], *full, prev="<e>", next_id="<e+1>")
    error = f"FULL processor=mailer limit=2 checkpoint=0-0 sink={DEAD_LOG}"
    case.refused(error, "transact", *commit_args("<e+1>", "<e+2>", 1), *full, keys=SINK)
    case.note("the last commit of a lease may have effects, too")
    last = [*commit_args("<e+1>", "<e+2>", 1, 1), *LETTER]
    case.call("transact", *last, keys=SINK, gives=[1, 0])
    case.again("transact", *last, keys=SINK, gives=[0, 0])
    released = commit_args("<e+2>", "<e+3>", 1)
    case.refused("FENCED epoch=<epoch> released=1", "transact", *released, *LETTER, keys=SINK)
    return case


def emitted() -> Case:
    """An event for any stream on the same server."""
    case = Case("transact: an event for another stream")
    ready(case)
    keys = [LOG, META, STATE, ALERTS_LOG, ALERTS_META]
    event: list[Word] = ["stream", 100, "refuse", 2, 1, 4, "xxh64", *entries("low", "lower")]
    args = [*commit_args("0-0", "<e>", 1), *event]
    case.note("the stream must be declared")
    case.refused(f"MISSING sink={ALERTS_LOG}", "transact", *args, keys=keys)
    case.call("declare", 1, 3, "xxh64", keys=[ALERTS_META], gives=[1])
    error = f"MISMATCH field=partitions stored=3 given=4 sink={ALERTS_LOG}"
    case.refused(error, "transact", *args, keys=keys)
    case.redis("HSET", ALERTS_META, "partitions", 4, gives=[0])
    case.call("transact", *args, keys=keys, gives=[1, 0])
    case.redis("XRANGE", ALERTS_LOG, "-", "+", gives=["<a>", "json", "low", "<b>", "json", "lower"])
    case.again("transact", *args, keys=keys, gives=[0, 0])
    case.redis("XLEN", ALERTS_LOG, gives=[2])
    return case


def outbox() -> Case:
    """Entries for streams in other slots."""
    case = Case("transact: entries of the outbox have the ids EPOCH-NUMBER")
    ready(case)
    keys = [LOG, META, STATE, OUTBOX]
    to: list[Word] = [4, "to", "alerts 0 4 xxh64 100", "json", "low"]
    two = [*commit_args("0-0", "<e>", 1), "outbox", 100, 2, *to, *to]
    case.call("transact", *two, keys=keys, gives=[1, 0])
    fields = ["to", "alerts 0 4 xxh64 100", "json", "low"]
    case.redis("XRANGE", OUTBOX, "-", "+", gives=["<epoch>-1", *fields, "<epoch>-2", *fields])
    shows(case, STATE, outbox_last="2", outbox_done=None)
    case.again("transact", *two, keys=keys, gives=[0, 0])
    case.note("a full outbox waits until entries were forwarded")
    third = [*commit_args("<e>", "<e+1>", 1), "outbox", 3, 2, *to, *to]
    case.refused(f"FULL processor= limit=3 sink={OUTBOX}", "transact", *third, keys=keys)
    case.note(
        "a commit that the server has lost: its numbers cannot be used again under this token"
    )
    case.redis("HSET", STATE, "outbox_last", 1, gives=[0])
    one = [*commit_args("<e>", "<e+1>", 1), "outbox", 100, 1, *to]
    case.refused("CONFLICT outbox=<epoch>-2", "transact", *one, keys=keys)
    return case


def transact_refused() -> Case:
    """Malformed calls."""
    case = Case("transact: refused calls")
    case.refused(
        "FENCED epoch=0", "transact", *commit_args("0-0", "1-1", 1, epoch=1), *LETTER, keys=SINK
    )
    ready(case)
    args = [*commit_args("0-0", "<e>", 1), *LETTER]
    case.malformed(
        "transact",
        args,
        [
            (5, "one", "next"),
            (5, "0-0", "next"),
            (6, "-1", "count"),
            (7, "2", "release"),
            (8, "sink", "effects at=8"),
            (9, 1, "effects at=8"),
            (9, "x", "effects at=8"),
            (10, "shed", "effects at=8"),
            (11, 0, "effects at=8"),
            (11, 2, "entries at=15"),
            (12, 1, "entries at=12"),
            (12, 4, "entries at=12"),
        ],
        keys=SINK,
    )
    case.refused("BADARG field=count keys=3 argv=14", "transact", *args)
    more = [*SINK, BALANCES]
    case.refused("BADARG field=count keys=6 argv=14", "transact", *args, keys=more)
    case.note("the same key twice, and a key that is not that of the effect")
    twice = [*SINK, DEAD_LOG, DEAD_META]
    case.refused("BADARG field=effects at=15", "transact", *args, *LETTER, keys=twice)
    wrong = [LOG, META, STATE, DEAD_LOG]
    event: list[Word] = ["outbox", 100, 1, *entries("x")]
    case.refused(
        "BADARG field=effects at=8", "transact", *commit_args("0-0", "<e>", 1), *event, keys=wrong
    )
    case.note("the consumer group was lost")
    case.redis("XGROUP", "DESTROY", LOG, "printer", gives=[1])
    case.refused("MISSING processor=printer", "transact", *args, keys=SINK)
    case.redis("EXISTS", DEAD_LOG, gives=[0])
    return case


def _trimmed(
    last: str, done: Word, lost: Word = 0, stream: str = "", reason: str = ""
) -> list[Word]:
    return ["<epoch>", NONCE, last, done, lost, stream, reason]


def trim_outbox() -> Case:
    """What was forwarded leaves the outbox."""
    case = Case("trim_outbox: what was forwarded leaves the outbox")
    ready(case)
    entry: list[Word] = [4, "to", "alerts 0 4 xxh64 100", "json", "low"]
    transacted(case, [OUTBOX], "outbox", 100, 3, *entry, *entry, *entry)
    case.note("nothing is forwarded yet: only what the oldest entry waits for")
    waiting = _trimmed("0-0", 0, 0, "alerts", "FULL processor=mailer")
    case.call("trim_outbox", *waiting, gives=[0, 3])
    shows(case, STATE, outbox_waits_for="alerts", outbox_reason="FULL processor=mailer")
    case.again("trim_outbox", *waiting, gives=[0, 3])
    case.call("trim_outbox", *_trimmed("<epoch>-2", 2), gives=[2, 1])
    case.redis("XRANGE", OUTBOX, "-", "+", gives=["<epoch>-3", *[str(each) for each in entry[1:]]])
    shows(case, STATE, outbox_done="2", outbox_last="3", outbox_waits_for=None)
    case.again("trim_outbox", *_trimmed("<epoch>-2", 2), gives=[0, 1])
    case.note("the last one was deleted by others: it counts as lost")
    case.redis("XDEL", OUTBOX, "<epoch>-3", gives=[1])
    case.call("trim_outbox", *_trimmed("0-0", 3, 1), gives=[0, 0])
    shows(case, STATE, outbox_done="3", outbox_lost="1")
    case.again("trim_outbox", *_trimmed("0-0", 3, 1), gives=[0, 0])
    case.malformed(
        "trim_outbox",
        _trimmed("0-0", 3),
        [
            (3, "one", "last"),
            (4, "-1", "done"),
            (5, "1.5", "lost"),
            (6, "s" * 1001, "waits_for limit=1000"),
            (7, "r" * 1001, "reason limit=1000"),
        ],
    )
    case.refused("BADARG field=count keys=2 argv=6", "trim_outbox", *_trimmed("0-0", 3)[:6])
    case.refused("CONFLICT outbox_last=3", "trim_outbox", *_trimmed("0-0", 4))
    case.refused("FENCED epoch=<epoch>", "trim_outbox", "<epoch>", NONCE2, *_trimmed("0-0", 3)[2:])
    return case


def own_log_is_full() -> Case:
    """A processor that emits to the log that it reads."""
    case = Case("transact: a full log does not wait for itself")
    ready(case, 0)
    appended(case, 2)
    case.note("of a log with a size of 2, the entry at the checkpoint and one more stay")
    event: list[Word] = ["derived", 2, "refuse", 1, *entries("again")]
    transacted(case, [LOG, META], *event)
    case.redis("XLEN", LOG, gives=[3])
    transacted(case, [LOG, META], *event, prev="<e>", next_id="<e+1>")
    case.redis("XRANGE", LOG, "-", "+", "COUNT", 1, gives=["<e+1>", "json", "2"])
    case.redis("XLEN", LOG, gives=[3])
    return case


def before_the_first() -> Case:
    """An event that stands before all that the log has."""
    case = Case("transact: an event that only a former primary had writes nothing")
    ready(case, 0)
    case.redis("XADD", LOG, "6-0", "json", "1", gives=["6-0"])
    keys = [LOG, META, STATE, BALANCES]
    write: list[Word] = ["table", 1, 0, "alice", "5"]
    case.note("its producer has sent it again, as 6-0: alice would have it twice")
    args = [*commit_args("0-0", "5-0", 1), *write]
    case.refused("CONFLICT checkpoint=0-0 missing=5-0", "transact", *args, keys=keys)
    transacted(case, [BALANCES], *write, next_id="6-0")
    case.redis("HGETALL", BALANCES, gives=["alice", "5"])
    return case


CASES = (
    *(derived, emitted, outbox, transact_refused, before_the_first),
    *(own_log_is_full, trim_outbox),
)
