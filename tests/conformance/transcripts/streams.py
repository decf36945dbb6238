"""declare, register, describe, trim, delete."""

from __future__ import annotations

from tests.conformance.cases import Case
from tests.conformance.keys import (
    BALANCES,
    BALANCES_EXPIRY,
    DELAYED,
    KEYS,
    LOG,
    META,
    NUMBERS,
    PRODUCERS,
    STATE,
)
from tests.conformance.steps import (
    CONTRACT,
    append_args,
    appended,
    claimed,
    committed,
    ready,
    registered,
    shows,
)


def declare() -> Case:
    """The contract is stored once."""
    case = Case("declare: the contract is stored once and compared later")
    case.call("declare", *CONTRACT, gives=[1])
    shows(case, META, protocol="1", partitions="8", hash="xxh64")
    case.again("declare", *CONTRACT, gives=[0])
    case.refused("MISMATCH field=partitions stored=8 given=9", "declare", 1, 9, "xxh64")
    case.refused("MISMATCH field=hash stored=xxh64 given=md5", "declare", 1, 8, "md5")
    case.refused("MISMATCH field=protocol stored=1 given=0", "declare", 0, 8, "xxh64")
    case.reads("declare", 2, 8, "xxh64", gives=[0])
    case.malformed(
        "declare",
        CONTRACT,
        [
            (1, "one", "protocol"),
            (2, 0, "partitions limit=10000"),
            (2, 10001, "partitions limit=10000"),
            (3, "", "hash"),
        ],
    )
    case.refused("BADARG field=count keys=1 argv=2", "declare", 1, 8)
    case.note("a stream that was deleted is created again, with another count if need be")
    case.redis("DEL", META, gives=[1])
    case.redis("HSET", META, "deleted", 1234, gives=[1])
    case.redis("PEXPIRE", META, 86400000, gives=[1])
    case.call("declare", 1, 12, "xxh64", gives=[1])
    shows(case, META, deleted=None, partitions="12")
    case.redis("PTTL", META, gives=[-1])
    return case


def register() -> Case:
    """A processor starts at the oldest event, or at the next one."""
    case = Case("register: a processor starts at the oldest event, or at the next one")
    case.call("register", *CONTRACT, "printer", "0", gives=[1, "0-0"])
    shows(case, META, protocol="1", partitions="8", hash="xxh64", checkpoint__printer="0-0")
    shows(case, STATE, checkpoint="0-0", read="0", epoch=None)
    case.again("register", *CONTRACT, "printer", "0", gives=[0, "0-0"])
    appended(case, 3)
    case.note("another processor, from the next event")
    billing = [LOG, META, STATE.replace(":printer", ":billing")]
    case.call("register", *CONTRACT, "billing", "$", keys=billing, gives=[1, "<e+2>"])
    shows(case, billing[2], checkpoint="<e+2>", read="3")
    case.again("register", *CONTRACT, "billing", "0", keys=billing, gives=[0, "<e+2>"])
    claimed(case)
    committed(case, "0-0", "<e>", 1)
    case.note("the state was lost: the checkpoint in meta restores it")
    case.redis("DEL", STATE, gives=[1])
    case.call("register", *CONTRACT, "printer", "0", gives=[2, "<e>"])
    shows(case, STATE, checkpoint="<e>", read="1")
    case.note("the consumer group was lost")
    case.redis("XGROUP", "DESTROY", LOG, "printer", gives=[1])
    case.call("register", *CONTRACT, "printer", "0", gives=[2, "<e>"])
    case.note("the log was lost: it goes on above its old ids")
    case.redis("DEL", LOG, gives=[1])
    case.call("register", *CONTRACT, "printer", "0", gives=[2, "<e>"])
    case.redis("XLEN", LOG, gives=[0])
    case.note("meta was lost")
    case.redis("DEL", META, gives=[1])
    case.call("register", *CONTRACT, "printer", "0", gives=[2, "<e>"])
    shows(case, META, protocol="1", partitions="8", hash="xxh64", checkpoint__printer="<e>")
    return case


def register_refused() -> Case:
    """What is refused."""
    case = Case("register: refused calls")
    case.malformed(
        "register",
        [*CONTRACT, "printer", "0"],
        [
            (1, "one", "protocol"),
            (2, 10001, "partitions limit=10000"),
            (3, "", "hash"),
            (4, "", "processor"),
            (5, "5-0", "start"),
        ],
    )
    case.refused("BADARG field=count keys=3 argv=4", "register", *CONTRACT, "printer")
    case.call("declare", *CONTRACT, gives=[1])
    case.refused(
        "MISMATCH field=partitions stored=8 given=4", "register", 1, 4, "xxh64", "printer", "0"
    )
    return case


def describe() -> Case:
    """One partition, as people see it."""
    case = Case("describe: a partition, and a processor on it")
    ready(case, 2)
    committed(case, "0-0", "<e>", 1)
    case.note("the token without its nonce; meta with a prefix; what is unknown is left out")
    fields = ["now", "<now>", "length", "2", "meta.protocol", "1", "meta.partitions", "8"]
    fields += ["meta.hash", "xxh64", "meta.checkpoint:printer", "<e>", "checkpoint", "<e>"]
    fields += ["read", "1", "owner", "w1", "epoch", "<epoch>", "grant", "10", "released", "0"]
    fields += ["attempts", "0", "event", "", "deaths", "0", "unclean_tenures", "0", "started", ""]
    fields += ["previous_owner", "", "moved_at", "<moved>", "processed", "1", "added", "2"]
    fields += ["last", "<e+1>", "first", "<e>", "lag", "1", "last_delivered", "<e>"]
    case.reads("describe", "printer", gives=[*fields, "next_id", "<e+1>"])
    case.refused("BADARG field=count keys=3 argv=0", "describe")
    return case


def trim() -> Case:
    """Old events leave, as far as retention allows."""
    case = Case("trim: old events leave when every processor has committed them")
    case.reads("trim", 1, 0, "refuse", gives=[0, 0, ""])
    registered(case, 4)
    claimed(case)
    case.note("removed, more at once, and for whom the rest stays")
    case.reads("trim", 1, 0, "refuse", gives=[0, 0, "printer"])
    committed(case, "0-0", "<e+1>", 2)
    case.note("the entry at the checkpoint stays")
    case.call("trim", 1, 0, "refuse", gives=[1, 0, "printer"])
    case.redis("XRANGE", LOG, "-", "+", "COUNT", 1, gives=["<e+1>", "json", "2"])
    case.again("trim", 1, 0, "refuse", gives=[0, 0, "printer"])
    case.note("drop_oldest removes what was not committed, too, and counts it")
    case.call("trim", 1, 0, "drop_oldest", gives=[2, 0, ""])
    shows(case, META, dropped__printer="1")
    case.redis("XRANGE", LOG, "-", "+", gives=["<e+3>", "json", "4"])
    case.again("trim", 1, 0, "drop_oldest", gives=[0, 0, ""])
    return case


def trim_age() -> Case:
    """By their age, and while nobody reads."""
    case = Case("trim: by age, and refused calls")
    case.redis("XADD", LOG, "1-1", "json", "old", gives=["1-1"])
    appended(case, 1)
    case.note("nobody reads the stream: what it has waits for a processor that may come")
    case.call("trim", 0, 86400000, "refuse", gives=[0, 0, "-"])
    case.call("trim", 0, 86400000, "drop_unread", gives=[1, 0, ""])
    case.redis("XRANGE", LOG, "-", "+", gives=["<e>", "json", "1"])
    case.malformed(
        "trim",
        [1, 0, "refuse"],
        [
            (1, 0, "max_age"),
            (1, "-1", "size"),
            (2, 1, "max_age"),
            (2, "x", "max_age"),
            (3, "x", "when_full"),
        ],
    )
    case.refused("BADARG field=count keys=2 argv=2", "trim", 1, 0)
    return case


def delete() -> Case:
    """A partition with its events and tables."""
    case = Case("delete: a partition with its events, producers and tables")
    case.reads("delete", gives=[0])
    registered(case, 2)
    case.redis("HSET", META, "table:balances", "printer", "expires:balances", "60", gives=[2])
    case.redis("HSET", META, "snapshot:monday:printer", "1234", gives=[1])
    case.redis("HSET", BALANCES, "alice", "5", gives=[1])
    case.redis("HSET", NUMBERS, "producer:p", "0-1 1-1 1 0-1", gives=[1])
    case.redis("ZADD", DELAYED, 5, "x", gives=[1])
    keys = [*KEYS["delete"], BALANCES, BALANCES_EXPIRY]
    case.note("snapshots are deleted before, by their keys and their field of meta")
    case.refused("BADARG field=snapshots snapshot=snapshot:monday:printer", "delete", keys=keys)
    case.redis("HDEL", META, "snapshot:monday:printer", gives=[1])
    case.note("every table that meta names is among the keys, and its expiry")
    case.refused("BADARG field=tables missing=balances", "delete")
    case.refused("BADARG field=tables missing=balances:expiry", "delete", keys=keys[:-1])
    case.refused("BADARG field=count keys=5 argv=1", "delete", "now")
    case.call("delete", keys=keys, gives=[2])
    case.redis("EXISTS", LOG, PRODUCERS, NUMBERS, DELAYED, BALANCES, gives=[0])
    case.note("for a day meta says that the stream was deleted, and its processors removed")
    shows(case, META, deleted="<now>", removed__printer="<now>", partitions=None)
    case.again("delete", gives=[0])
    case.refused("MISSING deleted=<now>", "append", *append_args("1"))
    return case


CASES = (declare, register, register_refused, describe, trim, trim_age, delete)
