"""append_later, promote, cancel."""

from __future__ import annotations

from tests.conformance.cases import Case, Int, Value, Word
from tests.conformance.keys import DELAYED, LOG, META, REQUEST, of
from tests.conformance.steps import CONTRACT, append_args, appended, entries, shows


def _args(*payloads: str, **changed: Word) -> list[Word]:
    values: dict[str, Word] = {"size": 1000, "kind": "delay", "ms": 3600000, "window": 60000}
    return [*CONTRACT, *(values | changed).values(), *entries(*payloads)]


def _request(key: str) -> list[str]:
    return [META, DELAYED, of(f"delayed:{key}")]


def append_later() -> Case:
    """Delayed events wait in a sorted set."""
    case = Case("append_later: events wait until they are due")
    case.call("append_later", *_args("1", "22"), gives=[1, Int("<due>"), Int("<order>"), 2])
    case.note("a member: order number, lengths of fields and values, line feed, fields and values")
    members = ["<order> 4 1\njson1", "<due>", "<order+1> 4 2\njson22", "<due>"]
    case.redis("ZRANGE", DELAYED, 0, -1, "WITHSCORES", gives=members)
    shows(case, META, delayed="2", delayed_due="<due>", delayed_last="<order+1>", dedupe="<mark>")
    shows(case, META, protocol="1", partitions="8", hash="xxh64")
    case.redis("GET", REQUEST, gives=["<due> <order> 2 <mark>"])
    case.redis("PTTL", REQUEST, gives=[Int("<1..60000>")])
    case.redis("EXISTS", LOG, gives=[0])
    case.again("append_later", *_args("1", "22"), gives=[0, Int("<due>"), Int("<order>"), 2])
    case.note("a time that is past is now, so this is the first one that is due")
    past = _args("3", kind="at", ms=1000)
    case.call(
        "append_later", *past, keys=_request("second"), gives=[1, Int("<now>"), Int("<o2>"), 1]
    )
    case.rises("<now>", "<due>")
    case.rises("<order+1>", "<o2>")
    shows(case, META, delayed="3", delayed_due="<now>")
    return case


def append_later_refused() -> Case:
    """What is refused."""
    case = Case("append_later: refused calls")
    args = _args("1")
    case.malformed(
        "append_later",
        args,
        [
            (1, "one", "protocol"),
            (2, 0, "partitions limit=10000"),
            (3, "", "hash"),
            (4, 1, "size"),
            (4, "10,5", "size"),
            (5, "soon", "kind"),
            (6, "-1", "ms"),
            (6, 31622400001, "ms limit=31622400000"),
            (7, 0, "window"),
            (8, 1, "entries at=8"),
        ],
    )
    case.refused("BADARG field=count keys=3 argv=7", "append_later", *args[:7])
    case.refused(
        "BADARG field=request", "append_later", *args, keys=[META, DELAYED, of("elsewhere")]
    )
    case.refused("BADARG field=entries limit=2", "append_later", *_args("1", "2", "3", size=2))
    case.call("append_later", *_args("1", "2", size=3), gives=[1, Int("<due>"), Int("<order>"), 2])
    full = _args("3", "4", size=3)
    case.refused("FULL delayed=2 limit=3", "append_later", *full, keys=_request("second"))
    case.refused(
        "MISMATCH field=partitions stored=8 given=9",
        "append_later",
        *(
            1,
            9,
            *args[2:],
        ),
        keys=_request("second"),
    )
    case.redis("DEL", META, DELAYED, gives=[2])
    case.redis("HSET", META, "deleted", 1234, gives=[1])
    case.refused("MISSING deleted=1234", "append_later", *args, keys=_request("second"))
    return case


def promote() -> Case:
    """What is due enters the log."""
    case = Case("promote: what is due enters the log in order")
    case.reads("promote", *CONTRACT, 1000, "refuse", gives=[0, 0, -1, 0])
    case.call("append_later", *_args("later"), gives=[1, Int("<due>"), Int("<order>"), 1])
    soon = _args("1", "22", ms=0)
    case.call("append_later", *soon, keys=_request("soon"), gives=[1, Int("<now>"), Int("<o2>"), 2])
    case.note("moved, waiting, ms until the next one is due, disappeared")
    case.call("promote", *CONTRACT, 1000, "refuse", gives=[2, 1, Int("<3000000..3600000>"), 0])
    case.redis("XRANGE", LOG, "-", "+", gives=["<e>", "json", "1", "<f>", "json", "22"])
    case.rises("<e>", "<f>")
    case.redis("ZRANGE", DELAYED, 0, -1, gives=["<order> 4 5\njsonlater"])
    shows(case, META, delayed="1", delayed_due="<due>")
    case.note("a repeat moves nothing twice")
    case.again("promote", *CONTRACT, 1000, "refuse", gives=[0, 1, Int("<3000000..3600000>"), 0])
    case.note("an event that somebody removed is counted once")
    case.redis("DEL", DELAYED, gives=[1])
    case.call("promote", *CONTRACT, 1000, "refuse", gives=[0, 0, -1, 1])
    shows(case, META, delayed=None, delayed_due=None, delayed_lost="1")
    case.again("promote", *CONTRACT, 1000, "refuse", gives=[0, 0, -1, 0])
    case.note("what is there and cannot be read is counted, too; it does not stop the others")
    case.call(
        "append_later", *_args("4", ms=0), keys=_request("n"), gives=[1, Int("<n>"), Int("<o>"), 1]
    )
    case.redis("ZADD", DELAYED, 1, "no entry", gives=[1])
    case.call("promote", *CONTRACT, 1000, "refuse", gives=[2, 0, -1, 1])
    shows(case, META, delayed_lost="2")
    case.redis("XLEN", LOG, gives=[3])
    return case


def promote_full() -> Case:
    """A full log, and malformed calls."""
    case = Case("promote: a full log, and refused calls")
    case.malformed(
        "promote",
        [*CONTRACT, 1000, "refuse"],
        [
            (1, "one", "protocol"),
            (2, 0, "partitions limit=10000"),
            (3, "", "hash"),
            (4, 1, "size"),
            (5, "shed", "when_full"),
        ],
    )
    case.refused("BADARG field=count keys=3 argv=4", "promote", *CONTRACT, 1000)
    appended(case, 1)
    due = _args("1", "2", "3", ms=0)
    case.call("append_later", *due, gives=[1, Int("<due>"), Int("<order>"), 3])
    case.note("as many as there is room for")
    case.call("promote", *CONTRACT, 2, "refuse", gives=[1, 2, 0, 0])
    case.refused("FULL processor= limit=2", "promote", *CONTRACT, 2, "refuse")
    case.note("the next append would overtake what is due: it waits, too")
    case.refused("OVERDUE due=<due>", "append", *append_args("9", sequence=2))
    case.note("in a log that is full, one event at a time makes room")
    case.call("promote", *CONTRACT, 2, "drop_unread", gives=[1, 1, 0, 0])
    case.call("promote", *CONTRACT, 2, "drop_unread", gives=[1, 0, -1, 0])
    case.redis("XLEN", LOG, gives=[2])
    case.refused(
        "MISMATCH field=partitions stored=8 given=9", "promote", 1, 9, "xxh64", 2, "refuse"
    )
    return case


def cancel() -> Case:
    """A delayed event is removed."""
    case = Case("cancel: a delayed event is removed")
    case.call("append_later", *_args("1", "2"), gives=[1, Int("<due>"), Int("<order>"), 2])
    case.call("cancel", "<due>", "<order>", gives=[1])
    case.redis("ZRANGE", DELAYED, 0, -1, gives=["<order+1> 4 1\njson2"])
    shows(case, META, delayed="1", delayed_due="<due>")
    case.again("cancel", "<due>", "<order>", gives=[0])
    case.call("cancel", "<due>", "<order+1>", gives=[1])
    case.redis("EXISTS", DELAYED, gives=[0])
    shows(case, META, delayed="0", delayed_due=None)
    case.note("of several with several times each is found; the first one that is left counts")
    for name, ms, payloads in (("a", 5000000, "123"), ("b", 6000000, "45"), ("c", 4000000, "6")):
        gives: list[Value] = [1, Int(f"<due{name}>"), Int(f"<{name}>"), len(payloads)]
        args = _args(*payloads, ms=ms)
        case.call("append_later", *args, keys=_request(name), gives=gives)
    shows(case, META, delayed="6", delayed_due="<duec>")
    case.again("cancel", "<duea>", "<b>", gives=[0])
    case.call("cancel", "<duec>", "<c>", gives=[1])
    shows(case, META, delayed="5", delayed_due="<duea>")
    for due, order in (("a", "a+2"), ("a", "a"), ("b", "b"), ("a", "a+1")):
        case.call("cancel", f"<due{due}>", f"<{order}>", gives=[1])
    shows(case, META, delayed="1", delayed_due="<dueb>")
    case.redis("ZRANGE", DELAYED, 0, -1, gives=["<b+1> 4 1\njson5"])
    case.malformed("cancel", ["<due>", "<order>"], [(1, "soon", "due"), (2, "-1", "order")])
    case.refused("BADARG field=count keys=2 argv=1", "cancel", "<due>")
    return case


CASES = (append_later, append_later_refused, promote, promote_full, cancel)
