"""Steps that many cases begin with. The first event of a case is `<e>`, the next one `<e+1>`."""

from __future__ import annotations

from typing import Any

from tests.conformance.cases import Case, Int, Value, Word
from tests.conformance.keys import LOG, META, PARKED, PARKED_KEYS, STATE

NONCE, NONCE2, NONCE3 = "0" * 32, "1" * 32, "2" * 32
CONTRACT: tuple[Word, ...] = (1, 8, "xxh64")
#: The values in the reply of `claim` for a partition with events that nobody has processed.
CLAIMED: dict[str, Value] = {
    "epoch": Int("<epoch>"),
    "checkpoint": "0-0",
    "processed": 0,
    "attempts": 0,
    "event": "",
    "unclean_tenures": 0,
    "paused": 0,
    "quarantined": 0,
    "lost": -1,
    "exact": 1,
    "checkpoint_exists": 0,
    "next_id": "<e>",
    "deaths": 0,
    "previous_owner": "",
    "outbox": 0,
    "parked": 0,
    "replay": 0,
}


def entries(*payloads: str | bytes) -> list[Word]:
    """Entries of one field as arguments."""
    return [each for payload in payloads for each in (2, "json", payload)]


def append_args(*payloads: str | bytes, **changed: Word) -> list[Word]:
    """The arguments of `append`, the first one of a producer."""
    with_defaults: dict[str, Word] = {"size": 1000, "when_full": "refuse", "producer": "till"}
    with_defaults |= {"sequence": 1, **changed}
    return [*CONTRACT, *with_defaults.values(), *entries(*payloads)]


def appended(case: Case, count: int = 3, first: str = "e", **changed: Word) -> None:
    """Events with the payloads 1, 2, 3 ..."""
    args = append_args(*(str(number + 1) for number in range(count)), **changed)
    case.call("append", *args, gives=[1, f"<{first}>", count])


def registered(case: Case, events: int = 3) -> None:
    """A registered processor, and events behind its checkpoint."""
    case.call("register", *CONTRACT, "printer", "0", gives=[1, "0-0"])
    if events:
        appended(case, events)


def claim_args(grant: int, nonce: str = NONCE, accept: Word = "", member: str = "w1") -> list[Word]:
    return [*CONTRACT, "printer", member, grant, nonce, accept]


def claimed(case: Case, grant: int = 10, **changed: Any) -> None:
    """A lease. `member`, `nonce` and `accept` are arguments; the other values are of the reply."""
    given = {each: changed.pop(each) for each in ("nonce", "accept", "member") if each in changed}
    assert changed.keys() <= CLAIMED.keys(), changed
    case.call("claim", *claim_args(grant, **given), gives=[*(CLAIMED | changed).values()])


def ready(case: Case, events: int = 3) -> None:
    """A claimed partition with events."""
    registered(case, events)
    claimed(case, next_id="<e>" if events else "")


def commit_args(
    prev: str,
    next_id: str,
    count: int,
    release: int = 0,
    epoch: Word = "<epoch>",
    nonce: Word = NONCE,
) -> list[Word]:
    return ["printer", epoch, nonce, prev, next_id, count, release]


def committed(case: Case, prev: str, next_id: str, count: int, release: int = 0) -> None:
    """A commit that is applied."""
    case.call("commit", *commit_args(prev, next_id, count, release), gives=[1, 0])


def transacted(
    case: Case, keys: list[str], *effects: Word, prev: str = "0-0", next_id: str = "<e>"
) -> None:
    """A commit of one event, with effects, that is applied."""
    args = commit_args(prev, next_id, 1)
    case.call("transact", *args, *effects, keys=[LOG, META, STATE, *keys], gives=[1, 0])


def parked_entry(key: str, event: str, payload: str = "1") -> list[Word]:
    """An entry of the parked events as an argument."""
    head = ["key", key, "event", event, "attempts", "3"]
    return [12, *head, "error_type", "ValueError", "error_message", "no", "json", payload]


def parked(case: Case) -> None:
    """Three events, of which the first two, of alice and bob, are parked as `<p1>` and `<p2>`."""
    ready(case)
    events = [*parked_entry("alice", "<e>"), *parked_entry("bob", "<e+1>", "2")]
    args = commit_args("0-0", "<e+1>", 2)
    keys = [LOG, META, STATE, PARKED, PARKED_KEYS]
    case.call("transact", *args, "park", 100, 2, *events, keys=keys, gives=[1, 0])
    for name, start in (("p1", "-"), ("p2", "(<p1>")):
        event = "<e>" if name == "p1" else "<e+1>"
        key, payload = ("alice", "1") if name == "p1" else ("bob", "2")
        values = [str(each) for each in parked_entry(key, event, payload)[1:]]
        case.redis("XRANGE", PARKED, start, "+", "COUNT", 1, gives=[f"<{name}>", *values])


def postponed_name(event: str, key: str) -> str:
    """The parked key of a postponed event: no other event has it."""
    return f"\0{event}\0{key}"


def shows(case: Case, key: str, **fields: Value) -> None:
    """Fields of a hash. `__` in a name stands for a colon."""
    names = [each.replace("__", ":") for each in fields]
    case.redis("HMGET", key, *names, gives=[*fields.values()])


def group(case: Case, last: str, read: int, lag: int) -> None:
    """The consumer group of the processor, which is the only one."""
    head: list[Value] = ["name", "printer", "consumers", 0, "pending", 0]
    place: list[Value] = ["last-delivered-id", last, "entries-read", read, "lag", lag]
    case.redis("XINFO", "GROUPS", LOG, gives=[*head, *place])
