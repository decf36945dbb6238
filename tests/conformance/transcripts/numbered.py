"""append_numbered."""

from __future__ import annotations

from tests.conformance.cases import Case, Int, Word
from tests.conformance.keys import LOG, META, NUMBERS
from tests.conformance.steps import CONTRACT, entries, shows

SENDER = "producer:till"


def _args(*numbers: str, **changed: Word) -> list[Word]:
    values: dict[str, Word] = {"size": 1000, "when_full": "refuse", "sender": SENDER, **changed}
    events = [each for number in numbers for each in (number, *entries(number))]
    return [*CONTRACT, *values.values(), *events]


def append_numbered() -> Case:
    """Each event has a number, and is added once."""
    case = Case("append_numbered: each event is added once")
    case.call("append_numbered", *_args("0-1", "0-2"), gives=[2, "<e>", 2, "0-2"])
    case.redis("XRANGE", LOG, "-", "+", gives=["<e>", "json", "0-1", "<e+1>", "json", "0-2"])
    case.redis("HGET", NUMBERS, SENDER, gives=["0-2 <e> 2 0-1"])
    shows(case, META, protocol="1", partitions="8", hash="xxh64")
    case.note("the last append again: the ids are known")
    case.again("append_numbered", *_args("0-1", "0-2"), gives=[0, "<e>", 2, "0-2"])
    case.note("a part of it in another call: it is there, and its ids are not known")
    case.again("append_numbered", *_args("0-1"), gives=[0, "", 0, "0-2"])
    case.note("a call that begins before the last number adds only what is newer")
    case.call("append_numbered", *_args("0-2", "0-7", "1-0"), gives=[2, "<f>", 2, "1-0"])
    case.redis("XRANGE", LOG, "<f>", "+", gives=["<f>", "json", "0-7", "<f+1>", "json", "1-0"])
    case.again("append_numbered", *_args("0-2", "0-7", "1-0"), gives=[0, "<f>", 2, "1-0"])
    case.note("another sender has numbers of its own")
    case.call(
        "append_numbered",
        *_args("0-1", sender="outbox:orders:0:printer"),
        gives=[1, "<g>", 1, "0-1"],
    )
    case.rises("<e>", "<f>", "<g>")
    return case


def append_numbered_refused() -> Case:
    """What is refused."""
    case = Case("append_numbered: refused calls")
    args = _args("0-1")
    case.malformed(
        "append_numbered",
        args,
        [
            (1, "one", "protocol"),
            (2, 10001, "partitions limit=10000"),
            (3, "", "hash"),
            (4, 1, "size"),
            (5, "shed", "when_full"),
            (6, "till", "sender"),
            (6, "till:1", "sender"),
            (6, "producer:", "sender"),
            (7, "1", "numbers at=7"),
            (8, 3, "entries at=8"),
        ],
    )
    case.note("numbers rise within a call, too")
    case.refused("BADARG field=numbers at=11", "append_numbered", *_args("0-2", "0-1"))
    case.refused("BADARG field=numbers at=11", "append_numbered", *_args("0-2", "00-02"))
    case.refused("BADARG field=entries limit=1", "append_numbered", *_args("0-1", "0-2", size=2))
    case.call("append_numbered", *_args("0-1", size=2), gives=[1, "<e>", 1, "0-1"])
    case.call("append_numbered", *_args("0-2", size=2), gives=[1, "<f>", 1, "0-2"])
    case.refused("FULL processor= limit=2", "append_numbered", *_args("0-3", size=2))
    case.refused(
        "MISMATCH field=hash stored=xxh64 given=md5", "append_numbered", 1, 8, "md5", *args[3:]
    )
    later: list[Word] = [*CONTRACT, 1000, "delay", 0, 60000, *entries("due")]
    case.call("append_later", *later, gives=[1, Int("<due>"), Int("<order>"), 1])
    case.refused("OVERDUE due=<due>", "append_numbered", *_args("0-3"))
    case.note("what an outbox forwards was emitted before, so it does not wait")
    outbox = _args("0-1", sender="outbox:orders:0:printer")
    case.call("append_numbered", *outbox, gives=[1, "<g>", 1, "0-1"])
    case.redis("DEL", META, gives=[1])
    case.redis("HSET", META, "deleted", 1234, gives=[1])
    case.refused("MISSING deleted=1234", "append_numbered", *_args("0-3"))
    return case


CASES = (append_numbered, append_numbered_refused)
