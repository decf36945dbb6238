"""append, append_once."""

from __future__ import annotations

from tests.conformance.cases import Case, Int, Word
from tests.conformance.keys import DEDUPE, LOG, META, PRODUCERS, of
from tests.conformance.steps import (
    CONTRACT,
    append_args,
    appended,
    claimed,
    committed,
    entries,
    shows,
)


def append() -> Case:
    """Events enter the log in order, and a repeat is recognised by the sequence."""
    case = Case("append: events enter the log in the given order")
    case.note("the first append of a stream stores the contract; ids go on within one millisecond")
    args = append_args("1", b"\x00\xff%<")
    case.call("append", *args, gives=[1, "<e>", 2])
    case.redis("XRANGE", LOG, "-", "+", gives=["<e>", "json", "1", "<e+1>", "json", b"\x00\xff%<"])
    shows(case, META, protocol="1", partitions="8", hash="xxh64")
    case.redis("HGET", PRODUCERS, "till", gives=["1 <e> 2"])
    case.note("a repeat answers with the ids of the first call")
    case.again("append", *args, gives=[0, "<e>", 2])
    case.note("only the last sequence is remembered: what differs in a repeat is not looked at")
    case.again("append", *append_args("other"), gives=[0, "<e>", 2])
    case.note("the next sequence, with several fields in one entry")
    more: list[Word] = [*append_args(sequence=2), 4, "json", "3", "@trace", ""]
    case.call("append", *more, gives=[1, "<next>", 1])
    case.rises("<e>", "<e+1>", "<next>")
    case.redis("XREVRANGE", LOG, "+", "-", "COUNT", 1, gives=["<next>", "json", "3", "@trace", ""])
    return case


def append_numbering() -> Case:
    """Sequences that are no next one are refused."""
    case = Case("append: sequences have no gaps")
    case.refused("UNKNOWN_PRODUCER producer=till given=2", "append", *append_args("1", sequence=2))
    appended(case, 1)
    case.refused("OUTOFORDER last=1 given=3", "append", *append_args("1", sequence=3))
    appended(case, 1, "second", sequence=2)
    case.refused("OUTOFORDER last=2 given=1", "append", *append_args("1", sequence=1))
    return case


def append_full() -> Case:
    """A full partition."""
    case = Case("append: a full partition keeps what was not committed")
    case.note("nobody is registered: events wait for a processor that may come")
    appended(case, 2, size=3)
    case.refused("FULL processor= limit=3", "append", *append_args("3", "4", size=3, sequence=2))
    case.note("with drop_unread they make room, as long as nobody reads the stream")
    appended(case, 2, "f", size=3, sequence=2, when_full="drop_unread")
    case.redis("XLEN", LOG, gives=[3])
    case.call("register", *CONTRACT, "printer", "0", gives=[1, "0-0"])
    full = append_args("5", size=3, sequence=3, when_full="drop_unread")
    case.refused("FULL processor=printer limit=3 checkpoint=0-0", "append", *full)
    case.note(
        "room is made of what every processor has committed; the entry at the checkpoint stays"
    )
    claimed(case, next_id="<e+1>")
    committed(case, "0-0", "<f>", 2)
    appended(case, 1, "g", size=3, sequence=3)
    case.redis("XRANGE", LOG, "-", "+", "COUNT", 1, gives=["<f>", "json", "1"])
    case.note("drop_oldest removes what was not committed, and counts it for each processor")
    appended(case, 2, "h", size=3, sequence=4, when_full="drop_oldest")
    case.redis("XRANGE", LOG, "-", "+", "COUNT", 1, gives=["<g>", "json", "1"])
    shows(case, META, dropped__printer="1")
    return case


def append_malformed() -> Case:
    """Malformed calls, and calls that do not fit the stream."""
    case = Case("append: malformed calls are refused")
    args = append_args("1")
    case.malformed(
        "append",
        args,
        [
            (1, "one", "protocol"),
            (2, 0, "partitions limit=10000"),
            (2, 10001, "partitions limit=10000"),
            (3, "", "hash"),
            (4, "many", "size"),
            (4, 1, "size"),
            (4, "10.5", "size"),
            (4, "10,0", "size"),
            (5, "shed", "when_full"),
            (6, "", "producer"),
            (7, 0, "sequence"),
            (7, "1.5", "sequence"),
            (8, 1, "entries at=8"),
            (8, 3, "entries at=8"),
            (8, 4, "entries at=8"),
        ],
    )
    case.refused("BADARG field=count keys=3 argv=7", "append", *args[:7])
    case.refused("BADARG field=count keys=2 argv=10", "append", *args, keys=[LOG, META])
    case.refused("BADARG field=entries limit=2", "append", *append_args("1", "2", "3", size=3))
    return case


def append_mismatch() -> Case:
    """Another contract is stored, or the stream was deleted."""
    case = Case("append: the contract of the stream holds")
    case.call("declare", *CONTRACT, gives=[1])
    args = append_args("1")
    for number, value, text in (
        (2, 9, "partitions stored=8 given=9"),
        (3, "crc32", "hash stored=xxh64 given=crc32"),
    ):
        changed = [*args[: number - 1], value, *args[number:]]
        case.refused(f"MISMATCH field={text}", "append", *changed)
    case.note("a client with a larger protocol version works, one with a smaller does not")
    case.redis("HSET", META, "protocol", 2, gives=[0])
    case.refused("MISMATCH field=protocol stored=2 given=1", "append", *args)
    case.call("append", 3, *args[1:], gives=[1, "<e>", 1])
    shows(case, META, protocol="2")
    case.note("a stream that was deleted is not created again by an append")
    case.redis("DEL", META, LOG, PRODUCERS, gives=[3])
    case.redis("HSET", META, "deleted", 1234, gives=[1])
    case.refused("MISSING deleted=1234", "append", *args)
    return case


def append_overdue() -> Case:
    """A delayed event is due."""
    case = Case("append: what is due enters the log first")
    later: list[Word] = [*CONTRACT, 1000, "delay", 0, 60000, *entries("due")]
    case.call("append_later", *later, gives=[1, Int("<due>"), Int("<order>"), 1])
    case.refused("OVERDUE due=<due>", "append", *append_args("1"))
    case.call("promote", *CONTRACT, 1000, "refuse", gives=[1, 0, -1, 0])
    appended(case, 1)
    case.redis("XLEN", LOG, gives=[2])
    return case


def _once(**changed: Word) -> list[Word]:
    values: dict[str, Word] = {"size": 1000, "when_full": "refuse", "window": 60000, **changed}
    return [*CONTRACT, *values.values(), *entries("1")]


def append_once() -> Case:
    """The key of an event is remembered."""
    case = Case("append_once: an event is added once under its key")
    case.call("append_once", *_once(), gives=[1, "<e>", 1])
    case.redis("XRANGE", LOG, "-", "+", gives=["<e>", "json", "1"])
    case.redis("GET", DEDUPE, gives=["<e> <mark>"])
    case.redis("PTTL", DEDUPE, gives=[Int("<1..60000>")])
    shows(case, META, dedupe="<mark>", protocol="1", partitions="8", hash="xxh64")
    case.again("append_once", *_once(), gives=[0, "<e>", 1])
    case.note("another key is another event")
    other = [LOG, META, of("dedupe:order-18")]
    case.call("append_once", *_once(), keys=other, gives=[1, "<second>", 1])
    case.note("when the time is over, the key is forgotten")
    case.redis("PEXPIRE", DEDUPE, 0, gives=[1])
    case.call("append_once", *_once(), gives=[1, "<third>", 1])
    case.rises("<e>", "<second>", "<third>")
    return case


def append_once_refused() -> Case:
    """What is refused."""
    case = Case("append_once: refused calls")
    case.malformed(
        "append_once",
        _once(),
        [
            (1, "one", "protocol"),
            (2, 0, "partitions limit=10000"),
            (3, "", "hash"),
            (4, 1, "size"),
            (5, "shed", "when_full"),
            (6, 0, "window"),
            (6, "1.5", "window"),
        ],
    )
    case.call("append_once", *_once(size=2), gives=[1, "<e>", 1])
    other = [LOG, META, of("dedupe:order-18")]
    case.call("append_once", *_once(size=2), keys=other, gives=[1, "<second>", 1])
    full = [LOG, META, of("dedupe:order-19")]
    case.refused("FULL processor= limit=2", "append_once", *_once(size=2), keys=full)
    case.refused(
        "MISMATCH field=partitions stored=8 given=9", "append_once", 1, 9, *_once()[2:], keys=full
    )
    later: list[Word] = [*CONTRACT, 1000, "delay", 0, 60000, *entries("due")]
    case.call("append_later", *later, gives=[1, Int("<due>"), Int("<order>"), 1])
    case.refused("OVERDUE due=<due>", "append_once", *_once(), keys=full)
    case.redis("DEL", META, gives=[1])
    case.redis("HSET", META, "deleted", 1234, gives=[1])
    case.refused("MISSING deleted=1234", "append_once", *_once(), keys=full)
    return case


CASES = (
    *(append, append_numbering, append_full, append_malformed, append_mismatch),
    *(append_overdue, append_once, append_once_refused),
)
