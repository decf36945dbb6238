"""transact with tables, clear_table, seek."""

from __future__ import annotations

from tests.conformance.cases import Case, Int, Word
from tests.conformance.keys import BALANCES, BALANCES_EXPIRY, LOG, META, STATE
from tests.conformance.steps import (
    CONTRACT,
    NONCE,
    NONCE2,
    NONCE3,
    appended,
    claim_args,
    commit_args,
    committed,
    group,
    ready,
    registered,
    shows,
    transacted,
)

TABLE = [LOG, META, STATE, BALANCES]
EXPIRING = [*TABLE, BALANCES_EXPIRY]


def written() -> Case:
    """Fields of a table, with the commit."""
    case = Case("transact: fields of a table and the commit, or neither")
    ready(case)
    sets: list[Word] = ["table", 2, 0, "alice", "5", b"\x00bob", "7"]
    args = [*commit_args("0-0", "<e>", 1), *sets]
    case.call("transact", *args, keys=TABLE, gives=[1, 0])
    case.redis("HMGET", BALANCES, "alice", b"\x00bob", gives=["5", "7"])
    case.note("the processor that wrote it first is its writer")
    shows(case, META, table__balances="printer", checkpoint__printer="<e>")
    case.again("transact", *args, keys=TABLE, gives=[0, 0])
    case.note("sets and deletes; several tables in one call")
    both: list[Word] = ["table", 1, 1, "alice", "6", b"\x00bob", "table", 1, 0, "x", "y"]
    limits = BALANCES.replace("balances", "limits")
    case.call(
        "transact", *commit_args("<e>", "<e+1>", 1), *both, keys=[*TABLE, limits], gives=[1, 0]
    )
    case.redis("HGETALL", BALANCES, gives=["alice", "6"])
    case.redis("HGETALL", limits, gives=["x", "y"])
    case.note("another processor writes it already")
    case.redis("HSET", META, "table:balances", "billing", gives=[0])
    case.refused(
        "NOT_WRITER table=balances writer=billing",
        "transact",
        *(
            *commit_args("<e+1>", "<e+2>", 1),
            "table",
            1,
            0,
            "a",
            "1",
        ),
        keys=TABLE,
    )
    case.refused(
        "BADARG field=effects at=8",
        "transact",
        *(
            *commit_args("<e+1>", "<e+2>", 1),
            "table",
            0,
            0,
        ),
        keys=TABLE,
    )
    return case


def expiring() -> Case:
    """A table whose keys expire."""
    case = Case("transact: fields that were not written for long are removed")
    ready(case, 5)
    first: list[Word] = ["expiring", 60, 2, 0, "alice", "5", "bob", "7"]
    args = [*commit_args("0-0", "<e>", 1), *first]
    case.call("transact", *args, keys=EXPIRING, gives=[1, 0])
    shows(case, META, table__balances="printer", expires__balances="60")
    case.redis(
        "ZRANGE", BALANCES_EXPIRY, 0, -1, "WITHSCORES", gives=["alice", "<at>", "bob", "<at>"]
    )
    case.again("transact", *args, keys=EXPIRING, gives=[0, 0])
    case.note("both were written more than a minute ago; this commit writes one of them")
    case.redis("ZADD", BALANCES_EXPIRY, 1, "alice", 2, "bob", gives=[0])
    transacted(
        case,
        [BALANCES, BALANCES_EXPIRY],
        "expiring",
        60,
        1,
        0,
        "bob",
        "8",
        prev="<e>",
        next_id="<e+1>",
    )
    case.redis("HGETALL", BALANCES, gives=["bob", "8"])
    case.redis("ZRANGE", BALANCES_EXPIRY, 0, -1, gives=["bob"])
    case.note("a commit of the form table keeps no times, so they begin anew")
    transacted(case, [BALANCES], "table", 1, 0, "carol", "1", prev="<e+1>", next_id="<e+2>")
    shows(case, META, expires__balances="0")
    case.redis("ZADD", BALANCES_EXPIRY, 1, "bob", gives=[0])
    transacted(
        case,
        [BALANCES, BALANCES_EXPIRY],
        "expiring",
        60,
        1,
        0,
        "dave",
        "2",
        prev="<e+2>",
        next_id="<e+3>",
    )
    case.redis("HLEN", BALANCES, gives=[3])
    case.redis("ZRANGE", BALANCES_EXPIRY, 0, -1, gives=["dave"])
    case.refused(
        "BADARG field=effects at=8",
        "transact",
        *(
            *commit_args("<e+3>", "<e+4>", 1),
            "expiring",
            0,
            1,
            0,
            "a",
            "1",
        ),
        keys=EXPIRING,
    )
    return case


def clear_table() -> Case:
    """A table is emptied, and its writer forgotten."""
    case = Case("clear_table: a table is deleted, and the lease of its writer ends")
    case.reads("clear_table", "printer", NONCE2, gives=[0])
    ready(case)
    transacted(case, [BALANCES, BALANCES_EXPIRY], "expiring", 60, 2, 0, "alice", "5", "bob", "7")
    case.refused(
        "NOT_WRITER table=balances writer=printer",
        "clear_table",
        *(
            "billing",
            NONCE2,
        ),
        keys=[META, STATE.replace("printer", "billing"), BALANCES],
    )
    case.note("the key of the expiry is needed, since meta has expires:balances")
    case.refused("BADARG field=expiry", "clear_table", "printer", NONCE2)
    keys = [META, STATE, BALANCES, BALANCES_EXPIRY]
    case.malformed(
        "clear_table", ["printer", NONCE2], [(1, "", "processor"), (2, "short", "nonce")], keys=keys
    )
    case.refused("BADARG field=count keys=4 argv=1", "clear_table", "printer", keys=keys)
    case.call("clear_table", "printer", NONCE2, keys=keys, gives=[2])
    case.redis("EXISTS", BALANCES, BALANCES_EXPIRY, gives=[0])
    shows(case, META, table__balances=None, expires__balances=None)
    case.again("clear_table", "printer", NONCE2, keys=keys, gives=[0])
    case.note("the owner remembers values, so it is fenced")
    shows(case, STATE, epoch="<ended>", nonce=NONCE2, released="1", checkpoint="<e>")
    case.rises("<epoch>", "<ended>")
    case.refused("FENCED epoch=<ended>", "commit", *commit_args("<e>", "<e+1>", 1))
    return case


def seek() -> Case:
    """The checkpoint moves to where an operator wants it."""
    case = Case("seek: an operator moves the checkpoint, and the lease ends")
    ready(case)
    committed(case, "0-0", "<e+1>", 2)
    case.call("seek", "printer", "<e+1>", "", NONCE2, gives=["<e>", 1])
    shows(case, STATE, checkpoint="<e>", read="1", released="1", epoch="<ended>", nonce=NONCE2)
    shows(case, META, checkpoint__printer="<e>")
    group(case, "<e>", 1, 2)
    case.rises("<epoch>", "<ended>")
    case.again("seek", "printer", "<e+1>", "", NONCE2, gives=["<e>", 1])
    case.refused("FENCED epoch=<ended>", "commit", *commit_args("<e+1>", "<e+2>", 1))
    case.note("to the next event that will be added, and to the oldest one")
    case.call("seek", "printer", "$", "", NONCE3, gives=["<e+2>", 3])
    case.call("seek", "printer", "0", "", NONCE, gives=["0-0", 0])
    case.note("an id behind all events, and one before them; read is given")
    case.call("seek", "printer", "<e+7>", "", NONCE2, gives=["<e+2>", 3])
    case.call("seek", "printer", "1-0", "", NONCE3, gives=["0-0", 0])
    case.call("seek", "printer", "<e+1>", 1, NONCE, gives=["<e>", 1])
    case.refused("BADARG field=read added=3 length=3", "seek", "printer", "<e+1>", 9, NONCE2)
    return case


def seek_with_tables() -> Case:
    """Tables are emptied in the same call."""
    case = Case("seek: tables are emptied with the checkpoint")
    ready(case)
    transacted(case, [BALANCES, BALANCES_EXPIRY], "expiring", 60, 1, 0, "alice", "5")
    keys = [LOG, META, STATE, BALANCES, BALANCES_EXPIRY]
    case.refused(
        "BADARG field=tables missing=balances", "seek", "printer", "0", "", NONCE2, keys=keys[:4]
    )
    case.refused("BADARG field=tables", "seek", "printer", "0", "", NONCE2, keys=[*keys[:3], LOG])
    case.call("seek", "printer", "0", "", NONCE2, keys=keys, gives=["0-0", 0])
    case.redis("EXISTS", BALANCES, BALANCES_EXPIRY, gives=[0])
    case.note("the processor stays the writer")
    shows(case, META, table__balances="printer")
    case.again("seek", "printer", "0", "", NONCE2, keys=keys, gives=["0-0", 0])
    case.redis("HSET", META, "table:balances", "billing", gives=[0])
    case.refused(
        "NOT_WRITER table=balances writer=billing",
        "seek",
        *(
            "printer",
            "0",
            "",
            NONCE3,
        ),
        keys=keys,
    )
    return case


def seek_refused() -> Case:
    """What is refused."""
    case = Case("seek: refused calls")
    args: list[Word] = ["printer", "0", "", NONCE2]
    case.refused("UNREGISTERED processor=printer", "seek", *args)
    registered(case, 1)
    case.malformed(
        "seek",
        args,
        [(1, "", "processor"), (2, "yesterday", "start"), (3, "x", "read"), (4, "short", "nonce")],
    )
    case.refused("BADARG field=count keys=3 argv=3", "seek", *args[:3])
    case.redis("XGROUP", "DESTROY", LOG, "printer", gives=[1])
    case.refused("MISSING processor=printer", "seek", *args)
    case.redis("DEL", LOG, gives=[1])
    case.refused("MISSING processor=printer", "seek", *args)
    case.call("register", *CONTRACT, "printer", "0", gives=[2, "0-0"])
    case.call("seek", *args, gives=["0-0", 0])
    appended(case, 1, "f", sequence=2)
    case.call(
        "claim",
        *claim_args(10),
        gives=[Int("<epoch>"), "0-0", 0, 0, "", 0, 0, 0, -1, 1, 0, "<f>", 0, "", 0, 0, 0],
    )
    return case


CASES = (written, expiring, clear_table, seek, seek_with_tables, seek_refused)
