"""Which entries leave a partition when something is added: the same for all scripts that add."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.conformance.cases import Case, Int, Status, Value, Word
from tests.conformance.keys import DEAD_LOG, DEAD_META, LOG, META, STATE, of
from tests.conformance.steps import (
    CLAIMED,
    CONTRACT,
    NONCE,
    append_args,
    claim_args,
    commit_args,
    entries,
    group,
    shows,
)

#: Arguments and keys of a call that adds one event to a stream.
Sender = Callable[[int, Word, str], tuple[str, list[Word], list[str]]]


def _append(number: int, size: Word, when_full: str) -> tuple[str, list[Word], list[str]]:
    args = append_args(str(number), size=size, when_full=when_full, sequence=number)
    return "append", args, [LOG, META, of("producers")]


def _numbered(number: int, size: Word, when_full: str) -> tuple[str, list[Word], list[str]]:
    event: list[Word] = [f"0-{number}", *entries(str(number))]
    args: list[Word] = [*CONTRACT, size, when_full, "producer:till", *event]
    return "append_numbered", args, [LOG, META, of("numbers")]


def _once(number: int, size: Word, when_full: str) -> tuple[str, list[Word], list[str]]:
    args: list[Word] = [*CONTRACT, size, when_full, 60000, *entries(str(number))]
    return "append_once", args, [LOG, META, of(f"dedupe:{number}")]


class _Full:
    """A case in which one script adds all events."""

    def __init__(self, case: Case, sender: Sender) -> None:
        self.case, self.sender, self.number = case, sender, 0

    def adds(self, name: str, size: Word = 3, when_full: str = "refuse") -> None:
        """The next event enters the log."""
        self.number += 1
        script, args, keys = self.sender(self.number, size, when_full)
        first = f"<{name}>"
        gives: dict[str, list[Word]] = {
            "append": [1, first, 1],
            "append_numbered": [1, first, 1, f"0-{self.number}"],
            "append_once": [1, first, 1],
        }
        self.case.call(script, *args, keys=keys, gives=gives[script])

    def waits(self, error: str, size: Word = 3, when_full: str = "refuse") -> None:
        """The next event finds no room."""
        script, args, keys = self.sender(self.number + 1, size, when_full)
        self.case.refused(error, script, *args, keys=keys)

    def begins_with(self, name: str) -> None:
        """The first entry of the log."""
        number = "abcdefghijk".index(name) + 1
        first = [f"<{name}>", "json", str(number)]
        self.case.redis("XRANGE", LOG, "-", "+", "COUNT", 1, gives=first)


def full(script: str, sender: Sender) -> Case:
    """A partition that holds three entries."""
    case = Case(f"{script}: which entries leave a full partition")
    log = _Full(case, sender)
    case.call("register", *CONTRACT, "printer", "0", gives=[1, "0-0"])
    for name in "abc":
        log.adds(name)
    log.waits("FULL processor=printer limit=3 checkpoint=0-0")
    case.call("claim", *claim_args(10), gives=[*(CLAIMED | {"next_id": "<a>"}).values()])
    case.call("commit", *commit_args("0-0", "<b>", 2), gives=[1, 0])
    group(case, "<b>", 2, 1)
    case.note("what every processor has committed makes room; the entry at its checkpoint stays")
    log.adds("d")
    log.begins_with("b")
    log.waits("FULL processor=printer limit=3 checkpoint=<b>")
    case.note("drop_oldest, first of what was committed, then of what was not")
    log.adds("e", when_full="drop_oldest")
    log.begins_with("c")
    shows(case, META, dropped__printer=None)
    log.adds("f", when_full="drop_oldest")
    log.begins_with("d")
    shows(case, META, dropped__printer="1")
    case.note("the consumer group moves past what was dropped, so that it is no lag")
    group(case, "<c>", 3, 3)
    shows(case, STATE, checkpoint="<b>", read="2")
    case.note("the consumer group was lost: its processor keeps its events all the same")
    case.redis("XGROUP", "DESTROY", LOG, "printer", gives=[1])
    log.waits("FULL processor=printer limit=3 group=missing", when_full="drop_unread")
    case.note("nobody is registered")
    case.redis("HDEL", META, "checkpoint:printer", gives=[1])
    log.waits("FULL processor= limit=3")
    case.note("a consumer group of others reads the stream, too")
    case.redis("XGROUP", "CREATE", LOG, "others", 0, gives=[Status("OK")])
    log.waits("FULL processor= limit=3 reader=others", when_full="drop_unread")
    case.redis("XGROUP", "DESTROY", LOG, "others", gives=[1])
    log.adds("g", when_full="drop_unread")
    log.begins_with("e")
    return case


def old(script: str, sender: Sender) -> Case:
    """A stream whose entries leave at an age of a day."""
    case = Case(f"{script}: which entries leave at their age")
    log = _Full(case, sender)
    for name in ("1-1", "1-2", "1-3"):
        case.redis("XADD", LOG, name, "json", "old", gives=[name])
    size = "1000,86400000"
    case.note("nobody reads the stream: its events wait for a processor that may come")
    log.adds("a", size)
    case.redis("XLEN", LOG, gives=[4])
    shows(case, META, trimmed_at="<now>")
    case.note("they are looked for once in a hundredth of the age")
    case.call("register", *CONTRACT, "printer", "0", gives=[1, "0-0"])
    case.call("claim", *claim_args(10), gives=[*(CLAIMED | {"next_id": "1-1"}).values()])
    case.call("commit", *commit_args("0-0", "1-2", 2), gives=[1, 0])
    log.adds("b", size)
    case.redis("XLEN", LOG, gives=[5])
    case.note("the entry at the checkpoint and those behind it stay, however old they are")
    case.redis("HSET", META, "trimmed_at", 0, gives=[0])
    log.adds("c", size)
    case.redis(
        "XRANGE", LOG, "-", "+", "COUNT", 2, gives=["1-2", "json", "old", "1-3", "json", "old"]
    )
    case.note("a clock that was ahead is no reason to wait")
    case.redis("HSET", META, "trimmed_at", 999999999999999, gives=[0])
    case.call("commit", *commit_args("1-2", "<a>", 2), gives=[1, 0])
    log.adds("d", size)
    log.begins_with("a")
    case.note("young entries stay, though they were committed")
    case.redis("HSET", META, "trimmed_at", 0, gives=[0])
    case.call("commit", *commit_args("<a>", "<d>", 3), gives=[1, 0])
    log.adds("e", size)
    log.begins_with("a")
    return case


def last_of_a_millisecond(script: str, several: Callable[[int], list[Word]]) -> Case:
    """Ids of one call go on in the next millisecond."""
    case = Case(f"{script}: after the last id of a millisecond comes the first of the next one")
    case.note("others have chosen an id in the future, near the end of its millisecond")
    case.redis(
        "XADD",
        LOG,
        f"99999999999999-{2**64 - 3}",
        "json",
        "0",
        gives=[f"99999999999999-{2**64 - 3}"],
    )
    first, second = f"99999999999999-{2**64 - 2}", f"99999999999999-{2**64 - 1}"
    more: list[Value] = ["0-4"] if script == "append_numbered" else []
    given: list[Value] = [4 if more else 1, first, 4]
    case.call(script, *several(4), gives=[*given, *more])
    left = [first, "json", "1", second, "json", "2", "100000000000000-0", "json", "3"]
    case.redis("XRANGE", LOG, first, "+", gives=[*left, "100000000000000-1", "json", "4"])
    return case


def _several(count: int) -> list[Word]:
    return append_args(*(str(each + 1) for each in range(count)))


def _several_numbered(count: int) -> list[Word]:
    events = [each for i in range(count) for each in (f"0-{i + 1}", *entries(str(i + 1)))]
    return [*CONTRACT, 1000, "refuse", "producer:till", *events]


def sink() -> Case:
    """The retention of a stream that a commit writes to."""
    case = Case("transact: which entries leave a full sink")
    case.call("register", *CONTRACT, "printer", "0", gives=[1, "0-0"])
    case.call("append", *append_args("1", "2", "3", "4", "5"), gives=[1, "<e>", 5])
    case.call("claim", *claim_args(10), gives=[*CLAIMED.values()])
    mailer = [DEAD_LOG, DEAD_META, DEAD_LOG.replace(":log", ":processor:mailer")]
    case.call("register", *CONTRACT, "mailer", "0", keys=mailer, gives=[1, "0-0"])
    keys = [LOG, META, STATE, DEAD_LOG, DEAD_META]

    ids = ["0-0", "<e>", "<e+1>", "<e+2>", "<e+3>", "<e+4>"]

    def letter(number: int, when_full: str = "refuse") -> list[Word]:
        effect: list[Word] = ["derived", 2, when_full, 1, *entries(str(number))]
        return [*commit_args(ids[number - 1], ids[number], 1), *effect]

    case.call("transact", *letter(1), keys=keys, gives=[1, 0])
    case.redis("XRANGE", DEAD_LOG, "-", "+", gives=["<a>", "json", "1"])
    case.call("transact", *letter(2), keys=keys, gives=[1, 0])
    error = f"FULL processor=mailer limit=2 checkpoint=0-0 sink={DEAD_LOG}"
    case.refused(error, "transact", *letter(3), keys=keys)
    case.note("drop_oldest removes a letter that was not committed, and counts it")
    case.call("transact", *letter(3, "drop_oldest"), keys=keys, gives=[1, 0])
    shows(case, DEAD_META, dropped__mailer="1")
    case.redis("XRANGE", DEAD_LOG, "-", "+", "COUNT", 1, gives=["<b>", "json", "2"])
    case.note("its processor commits: there is room")
    at: dict[str, Value] = {"processed": 0, "next_id": "<b>", "lost": 1, "epoch": Int("<other>")}
    args = [*CONTRACT, "mailer", "m1", 1, NONCE]
    case.call("claim", *args, "", keys=mailer, gives=[*(CLAIMED | at).values()])
    at["lost"] = -1
    case.call("claim", *args, 1, keys=mailer, gives=[*(CLAIMED | at).values()])
    case.redis("XREVRANGE", DEAD_LOG, "+", "-", "COUNT", 1, gives=["<c>", "json", "3"])
    done: list[Word] = ["mailer", "<other>", NONCE, "0-0", "<c>", 2, 0]
    case.call("commit", *done, keys=mailer, gives=[1, 0])
    case.call("transact", *letter(4), keys=keys, gives=[1, 0])
    case.redis("XRANGE", DEAD_LOG, "-", "+", "COUNT", 1, gives=["<c>", "json", "3"])
    case.note("nobody reads the sink: with drop_unread its oldest letter leaves")
    case.redis("XGROUP", "DESTROY", DEAD_LOG, "mailer", gives=[1])
    missing = f"FULL processor=mailer limit=2 group=missing sink={DEAD_LOG}"
    case.refused(missing, "transact", *letter(5, "drop_unread"), keys=keys)
    case.redis("HDEL", DEAD_META, "checkpoint:mailer", gives=[1])
    case.call("transact", *letter(5, "drop_unread"), keys=keys, gives=[1, 0])
    case.redis("XRANGE", DEAD_LOG, "-", "+", "COUNT", 1, gives=["<d>", "json", "4"])
    return case


_SENDERS: dict[str, Sender] = {
    "append": _append,
    "append_numbered": _numbered,
    "append_once": _once,
}
CASES = (
    *(partial(full, name, sender) for name, sender in _SENDERS.items()),
    *(partial(old, name, sender) for name, sender in _SENDERS.items()),
    partial(last_of_a_millisecond, "append", _several),
    partial(last_of_a_millisecond, "append_numbered", _several_numbered),
    sink,
)
