"""snapshot, copy_table, restore."""

from __future__ import annotations

from tests.conformance.cases import Case, Word
from tests.conformance.keys import (
    BALANCES,
    BALANCES_EXPIRY,
    COPY,
    COPY_EXPIRY,
    KEYS,
    LOG,
    META,
    RECORD,
    STAGED,
    STAGED_EXPIRY,
    STATE,
)
from tests.conformance.steps import (
    CONTRACT,
    NONCE,
    NONCE2,
    NONCE3,
    commit_args,
    committed,
    group,
    ready,
    shows,
    transacted,
)

ID, OTHER = "a" * 16, "b" * 16
OUT = [RECORD, COPY, COPY_EXPIRY, STAGED, STAGED_EXPIRY]


def _table(case: Case) -> None:
    """The first event has written two fields."""
    ready(case)
    transacted(case, [BALANCES, BALANCES_EXPIRY], "expiring", 60, 2, 0, "alice", "5", "bob", "7")


def _taken(case: Case) -> None:
    """A whole snapshot of it."""
    _table(case)
    case.call("snapshot", "printer", "begin", ID, gives=[0, "<e>"])
    case.call("copy_table", ID, 0, 100, 0, gives=["0", 2, 10])
    case.call("snapshot", "printer", "finish", ID, gives=[1, "<e>"])


def snapshot() -> Case:
    """Begin, copy, finish."""
    case = Case("snapshot: a copy of the tables and the checkpoint that they belong to")
    _table(case)
    case.call("snapshot", "printer", "begin", ID, gives=[0, "<e>"])
    shows(case, META, snapshot__monday__printer="")
    shows(case, RECORD, id=ID, checkpoint="<e>", read="1", at=None, table__balances="")
    case.again("snapshot", "printer", "begin", ID, gives=[0, "<e>"])
    case.note("nothing is copied yet, so it is not whole")
    case.reads("snapshot", "printer", "finish", ID, gives=[0, "<e>"])
    case.call("copy_table", ID, 0, 100, 0, gives=["0", 2, 10])
    case.call("snapshot", "printer", "finish", ID, gives=[1, "<e>"])
    shows(case, META, snapshot__monday__printer="<at>")
    shows(case, RECORD, at="<at>", table__balances="2", expires__balances="60")
    case.again("snapshot", "printer", "finish", ID, gives=[1, "<e>"])
    case.note("another one under the same name begins with nothing")
    case.call("snapshot", "printer", "begin", OTHER, gives=[0, "<e>"])
    case.redis("EXISTS", COPY, COPY_EXPIRY, gives=[0])
    case.refused("MISSING snapshot=monday", "snapshot", "printer", "finish", ID)
    case.note("a commit while it is copied: not whole, begin again")
    case.call("copy_table", OTHER, 0, 100, 0, gives=["0", 2, 10])
    committed(case, "<e>", "<e+1>", 1)
    case.reads("snapshot", "printer", "finish", OTHER, gives=[0, "<e+1>"])
    return case


def snapshot_refused() -> Case:
    """What is refused."""
    case = Case("snapshot: refused calls")
    case.refused("UNREGISTERED processor=printer", "snapshot", "printer", "begin", ID)
    _table(case)
    case.malformed(
        "snapshot",
        ["printer", "begin", ID],
        [(1, "billing", "processor"), (2, "end", "step"), (3, "short", "id")],
    )
    keys = KEYS["snapshot"]
    case.refused("BADARG field=count keys=7 argv=2", "snapshot", "printer", "begin")
    case.refused(
        "BADARG field=count keys=4 argv=3", "snapshot", "printer", "begin", ID, keys=keys[:4]
    )
    case.note("every table of the processor")
    case.refused(
        "BADARG field=tables missing=balances", "snapshot", "printer", "begin", ID, keys=keys[:3]
    )
    swapped = [*keys[:3], keys[4], keys[3], *keys[5:]]
    case.refused("BADARG field=tables", "snapshot", "printer", "begin", ID, keys=swapped)
    return case


def copy_table() -> Case:
    """Pages of a table."""
    case = Case("copy_table: into a snapshot, and out of one")
    _table(case)
    case.redis("ZADD", BALANCES_EXPIRY, 1000, "alice", 2000, "bob", gives=[0])
    case.refused("MISSING snapshot=monday", "copy_table", ID, 0, 100, 0)
    case.call("snapshot", "printer", "begin", ID, gives=[0, "<e>"])
    case.note("the cursor of the next page, the fields, and the bytes of them and their values")
    case.call("copy_table", ID, 0, 100, 0, gives=["0", 2, 10])
    case.redis("HGETALL", COPY, gives=["alice", "5", "bob", "7"])
    case.redis("ZRANGE", COPY_EXPIRY, 0, -1, "WITHSCORES", gives=["alice", "1000", "bob", "2000"])
    case.again("copy_table", ID, 0, 100, 0, gives=["0", 2, 10])
    case.note("the first page begins with an empty copy")
    case.redis("HSET", COPY, "rest", "of another", gives=[1])
    case.call("copy_table", ID, 0, 100, 0, gives=["0", 2, 10])
    case.redis("HLEN", COPY, gives=[2])
    case.note("out of it, with a shift of the times")
    case.call("copy_table", ID, 0, 100, 500, keys=OUT, gives=["0", 2, 10])
    case.redis("HGETALL", STAGED, gives=["alice", "5", "bob", "7"])
    case.redis("ZRANGE", STAGED_EXPIRY, 0, -1, "WITHSCORES", gives=["alice", "1500", "bob", "2500"])
    case.malformed(
        "copy_table",
        [ID, 0, 100, 0],
        [
            (1, "short", "id"),
            (2, "x", "cursor"),
            (3, 0, "count limit=1000"),
            (3, 1001, "count limit=1000"),
            (4, "-1", "shift"),
        ],
    )
    case.refused("BADARG field=count keys=5 argv=3", "copy_table", ID, 0, 100)
    wrong = [RECORD, BALANCES, BALANCES_EXPIRY, STAGED, STAGED_EXPIRY]
    case.refused("BADARG field=tables", "copy_table", ID, 0, 100, 0, keys=wrong)
    return case


def restore() -> Case:
    """Back to a snapshot."""
    case = Case("restore: tables and checkpoint of a snapshot are put in place")
    _taken(case)
    transacted(
        case, [BALANCES, BALANCES_EXPIRY], "expiring", 60, 2, 1, "alice", "9", "carol", "1", "bob",
        prev="<e>", next_id="<e+1>",
    )  # fmt: skip
    case.call("attempt", "<epoch>", NONCE, "quarantine", "<e+2>", 4, "ValueError", "no", gives=[0])
    case.note("the copy of the copy must be whole")
    args: list[Word] = ["printer", ID, 0, NONCE2]
    case.refused("BADARG field=tables incomplete=balances", "restore", *args)
    case.call("copy_table", ID, 0, 100, 0, keys=OUT, gives=["0", 2, 10])
    case.call("restore", *args, gives=["<e>", 1])
    case.redis("HGETALL", BALANCES, gives=["alice", "5", "bob", "7"])
    case.redis("ZRANGE", BALANCES_EXPIRY, 0, -1, gives=["alice", "bob"])
    case.redis("EXISTS", STAGED, STAGED_EXPIRY, gives=[0])
    shows(case, STATE, checkpoint="<e>", read="1", released="1", epoch="<ended>", nonce=NONCE2)
    shows(case, STATE, quarantined="0", attempts="0", event="", error_type=None)
    shows(case, META, checkpoint__printer="<e>", table__balances="printer", expires__balances="60")
    group(case, "<e>", 1, 2)
    case.rises("<epoch>", "<ended>")
    case.again("restore", *args, gives=["<e>", 1])
    case.refused("FENCED epoch=<ended>", "commit", *commit_args("<e+1>", "<e+2>", 1))
    return case


def restore_refused() -> Case:
    """What is refused."""
    case = Case("restore: refused calls")
    args: list[Word] = ["printer", ID, 0, NONCE2]
    case.refused("UNREGISTERED processor=printer", "restore", *args)
    _taken(case)
    case.malformed(
        "restore",
        args,
        [
            (1, "billing", "processor"),
            (2, "short", "id"),
            (3, "-1", "accepted"),
            (4, "short", "nonce"),
        ],
    )
    case.refused("BADARG field=count keys=8 argv=3", "restore", *args[:3])
    case.refused("BADARG field=tables missing=balances", "restore", *args, keys=KEYS["restore"][:4])
    case.refused("MISSING snapshot=monday", "restore", "printer", OTHER, 0, NONCE2)
    case.call("copy_table", ID, 0, 100, 0, keys=OUT, gives=["0", 2, 10])
    case.redis("HSET", META, "table:balances", "billing", gives=[0])
    case.refused("NOT_WRITER table=balances writer=billing", "restore", *args)
    case.redis("HSET", META, "table:balances", "printer", gives=[0])
    case.note("events after its checkpoint have left the log: their number must be accepted")
    committed(case, "<e>", "<e+2>", 2)
    case.redis("XTRIM", LOG, "MINID", "<e+2>", gives=[2])
    case.refused("MISSING checkpoint=<e> lost=1", "restore", *args)
    case.call("restore", "printer", ID, 1, NONCE3, gives=["<e>", 1])
    case.note("the consumer group was lost")
    case.call("copy_table", ID, 0, 100, 0, keys=OUT, gives=["0", 2, 10])
    case.redis("XGROUP", "DESTROY", LOG, "printer", gives=[1])
    case.refused("MISSING processor=printer", "restore", "printer", ID, 1, NONCE2)
    case.redis("DEL", LOG, gives=[1])
    case.refused("MISSING processor=printer", "restore", "printer", ID, 1, NONCE2)
    case.call("register", *CONTRACT, "printer", "0", gives=[2, "<e>"])
    return case


CASES = (snapshot, snapshot_refused, copy_table, restore, restore_refused)
