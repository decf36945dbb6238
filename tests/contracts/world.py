"""A small world in which every script has a call that succeeds."""

from __future__ import annotations

from dataclasses import dataclass

from tests.contracts.wire import Arg, Refused, Wire
from tests.lua.conftest import (
    ASIDE,
    DELAYED,
    DELETED,
    LOG,
    MEMBERS,
    META,
    NONCE,
    NUMBERS,
    OUTBOX,
    PARKED,
    PLAN,
    POSTPONED,
    PRODUCERS,
    SESSIONS,
    STATE,
)

LEADER, TICKS = "runnel:{shop}:leader", "runnel:{shop}:ticks"
SINK_LOG, SINK_META = (
    LOG.replace("}:orders:", "}:dead:"),
    META.replace("}:orders:", "}:dead:"),
)
SINK_DELAYED = SINK_LOG.replace(":log", ":delayed")
REQUEST = f"{DELAYED}:order-17"
DEDUPE = META.replace(":meta", ":dedupe:order-17")
TABLE = META.replace(":meta", ":table:balances")
PARTITION = [LOG, META, STATE]
#: Script -> name and type of the keys whose number depends on the arguments.
MORE_KEYS = {
    "transact": [
        *(("table", "hash"), ("sink_log", "stream"), ("sink_meta", "hash")),
        *(("expiring", "hash"), ("times", "zset")),
        *(("parked", "stream"), ("parked_keys", "hash"), ("postponed", "zset")),
    ],
    "delete": [("table", "hash")],
    "copy_table": [
        *(("values", "hash"), ("expiry", "zset"), ("to_values", "hash"), ("to_expiry", "zset"))
    ],
    "snapshot": [
        *(("values", "hash"), ("expiry", "zset"), ("copy", "hash"), ("copy_expiry", "zset"))
    ],
    "restore": [
        *(("values", "hash"), ("expiry", "zset"), ("staged", "hash"), ("staged_expiry", "zset"))
    ],
}
EXPIRY = f"{TABLE}:expiry"
EXPIRING = META.replace(":meta", ":table:visits")
RECORD = META.replace(":meta", ":snapshot:monday:printer")
COPY, STAGED = f"{RECORD}:table:balances", f"{RECORD}:restore:table:balances"
SNAPSHOT_ID = "3" * 32
GROUP = [PLAN, MEMBERS, SESSIONS]
CONTRACT: list[Arg] = [1, 8, "xxh64"]
NEW = "2" * 32


@dataclass(frozen=True)
class Sent:
    """One call as it goes out."""

    script: str
    keys: list[str]
    args: list[Arg]

    def by(self, wire: Wire) -> object:
        """The outcome of the call, with all that `Wire.call` checks."""
        return wire.call(self.script, self.keys, *self.args)


def valid_calls(wire: Wire) -> dict[str, Sent]:
    """Make the world, and for each script a call that succeeds in it and, if any does, writes."""
    wire.clear()
    entries: list[Arg] = [2, "msgpack", "one"] * 5

    def done(script: str, keys: list[str], *args: Arg) -> list[str | int]:
        reply = wire.send(script, keys, *args)
        assert not isinstance(reply, Refused), reply.text
        return reply if isinstance(reply, list) else [reply]

    done("register", PARTITION, *CONTRACT, "printer", "0")
    done("append", [LOG, META, PRODUCERS], *CONTRACT, 100, "refuse", "p", 1, *entries)
    done("append", [SINK_LOG, SINK_META, PRODUCERS], *CONTRACT, 100, "refuse", "q", 1, *entries[:9])
    (epoch, *_) = done("claim", PARTITION, *CONTRACT, "printer", "me", 10, NONCE, "")
    numbered: list[Arg] = ["0-1", 2, "msgpack", "x"]
    sender: list[Arg] = [*CONTRACT, 100, "refuse", "producer:till"]
    done("append_numbered", [LOG, META, NUMBERS], *sender, *numbered)
    ids = [event for event, _ in wire.snapshot()[LOG].entries]
    done("attempt", [STATE], epoch, NONCE, "quarantine", ids[0], 1, "Boom", "it went off")
    member: list[Arg] = [8, 10_000, 5_000, 0, "a", "a1"]
    grants = done("sync", GROUP, *member, 1, "stay", "host", 0)[4:]
    pairs = [each for i in range(0, len(grants), 3) for each in grants[i : i + 2]]
    done("elect", [LEADER], "a", "n1", 5_000, "hold")
    done("tick", [TICKS], "report", 1_000, "n1", "0 * * * * UTC")
    wire.snapshot()
    letter: list[Arg] = [2, "msgpack", "dead"]
    expiring: list[Arg] = ["expiring", 60, 1, 1, "erin", "1", "carol"]
    writes: list[Arg] = ["table", 2, 1, "alice", "5", "bob", "7", "carol"]
    wire.redis.hset(TABLE, "carol", "1")
    wire.redis.hset(META, "table:balances", "printer")
    wire.redis.hset(EXPIRING, "dave", "1")
    wire.redis.zadd(f"{EXPIRING}:expiry", {"dave": 1_700_000_000_000})
    wire.redis.hset(PARKED[1], mapping={"alice": 2, "bob": "1 5-0 3 Boom once more"})
    wire.redis.hset(PARKED[2], "bob", "1")
    parked: list[Arg] = ["key", "alice", "event", "5-0", "msgpack", "one"]
    for event in ("6-0", "7-0"):
        wire.redis.xadd(PARKED[0], {"key": "alice", "msgpack": "x"}, event)
    wire.redis.xadd(PARKED[0], {"key": "bob", "msgpack": "x"}, "8-0")
    postponed: list[Arg] = ["key", "\0005-0\000bob", "event", "5-0", "msgpack", "x"]
    wire.redis.xadd(PARKED[0], dict(zip(postponed[::2], postponed[1::2], strict=True)), "9-0")
    wire.redis.hset(PARKED[1], "\0005-0\000bob", 1)
    wire.redis.zadd(POSTPONED, {"9-0": 1_700_000_000_000, "9-1": 1_700_000_000_000})
    wire.redis.zadd(EXPIRY, {"carol": 1_700_000_000_000})
    copied = [TABLE, EXPIRY, COPY, f"{COPY}:expiry"]
    done("snapshot", [META, STATE, RECORD, *copied], "printer", "begin", SNAPSHOT_ID)
    done("copy_table", [RECORD, *copied], SNAPSHOT_ID, 0, 100, 0)
    done("snapshot", [META, STATE, RECORD, *copied], "printer", "finish", SNAPSHOT_ID)
    restored = [COPY, f"{COPY}:expiry", STAGED, f"{STAGED}:expiry"]
    done("copy_table", [RECORD, *restored], SNAPSHOT_ID, 0, 100, 5)
    wire.redis.hdel(META, "snapshot:monday:printer")  # With it, the partition is not deleted.
    # All but the last entry of the outbox were forwarded, and that one is lost.
    wire.redis.hset(STATE, "outbox_last", "3")
    wire.redis.xadd(OUTBOX, {"to": "alerts"}, id=f"{epoch}-1")
    wire.redis.xtrim(OUTBOX, maxlen=0, approximate=False)
    later: list[Arg] = [*CONTRACT, 100, "delay", 60_000, 60_000, *entries[:6]]
    _, due, order, _ = done("append_later", [META, DELAYED, f"{DELAYED}:a"], *later)
    receipt: list[Arg] = [due, order]
    # In the other stream, an event is due: here it would stop the appends.
    now = [*later[:5], 0, *later[6:]]
    sink_request = f"{SINK_DELAYED}:a"
    done("append_later", [SINK_META, SINK_DELAYED, sink_request], *now)
    wire.snapshot()
    letters = [event for event, _ in wire.snapshot()[SINK_LOG].entries]
    step: list[Arg] = ["printer", epoch, NONCE, "0-0", ids[0], 1, 0]
    calls = {
        "declare": ([META], CONTRACT),
        "register": (PARTITION, [*CONTRACT, "printer", "0"]),
        "append": (
            [LOG, META, PRODUCERS],
            [*CONTRACT, 100, "refuse", "p", 2, 2, "msgpack", "x", 4, "msgpack", "y", "@trace", "z"],
        ),
        "append_numbered": (
            [LOG, META, NUMBERS],
            [*sender, *numbered, "0-2", 2, "msgpack", "y"],
        ),
        "append_once": (
            [LOG, META, DEDUPE],
            [*CONTRACT, 100, "refuse", 60_000, 4, "msgpack", "x", "@trace", "z"],
        ),
        "append_later": ([META, DELAYED, REQUEST], later),
        "promote": ([SINK_LOG, SINK_META, SINK_DELAYED], [*CONTRACT, 3, "drop_oldest"]),
        "cancel": ([META, DELAYED], receipt),
        "claim": (PARTITION, [*CONTRACT, "printer", "me", 11, NEW, ""]),
        "commit": (PARTITION, step),
        # The derived stream has just no room, so that its meta hash is read, too.
        "transact": (
            [
                *PARTITION,
                TABLE,
                SINK_LOG,
                SINK_META,
                EXPIRING,
                f"{EXPIRING}:expiry",
                *PARKED[:2],
                POSTPONED,
            ],
            [
                *(*step, *writes, "derived", 3, "drop_oldest", 1, *letter, *expiring),
                *("postpone", 60_000, 9, 1, 6, *parked),
            ],
        ),
        "attempt": ([STATE], [epoch, NONCE, "failure", ids[0], 2, "Boom", "once more"]),
        "seek": (PARTITION, ["printer", ids[2], "", NEW]),
        "snapshot": ([META, STATE, RECORD, *copied], ["printer", "begin", "4" * 32]),
        "copy_table": ([RECORD, *restored], [SNAPSHOT_ID, 0, 100, 5]),
        "restore": (
            [*PARTITION, RECORD, TABLE, EXPIRY, *restored[2:]],
            ["printer", SNAPSHOT_ID, 0, NEW],
        ),
        "clear_table": ([META, STATE, TABLE], ["printer", NEW]),
        "park_again": ([STATE, *PARKED[1:]], [epoch, NONCE, "bob", "5-0 3 Boom again"]),
        "postpone": ([STATE, *ASIDE], [epoch, NONCE, "9-0", 500, "5-0 3 Boom again"]),
        "due": ([STATE, *PARKED[:2], POSTPONED], [9]),
        "replay": ([STATE, *PARKED[1:]], [NEW, "alice", "bob"]),
        "drop_parked": ([STATE, *ASIDE], [NEW, "6-0", "8-0"]),
        "take_letters": (
            [SINK_LOG, SINK_META, STATE, *PARKED],
            [NEW, 9, letters[0], 6, *parked, letters[1], 0],
        ),
        "acknowledge": ([STATE], [3]),
        "pause": ([STATE], []),
        "resume": ([STATE], []),
        "remove": ([*PARTITION, OUTBOX, *ASIDE], ["printer"]),
        "trim": ([LOG, META], [4, 0, "drop_oldest"]),
        "trim_outbox": (
            [STATE, OUTBOX],
            [epoch, NONCE, f"{epoch}-2", 3, 1, "alerts", "it is full"],
        ),
        "delete": ([*DELETED, TABLE], []),
        "describe": (PARTITION, ["printer"]),
        "sync": (GROUP, [*member, 2, "stay", "host", 7, *pairs[2:], *pairs[:2], 0]),
        "revoke": ([PLAN], [0, 1]),
        "describe_group": (GROUP[:3], []),
        "check_acl": ([], [2, "HSET", META, 1, "TIME"]),
        "elect": ([LEADER], ["a", "n1", 5_000, "hold"]),
        "tick": ([TICKS], ["report", 2_000, "n2", "0 * * * * UTC"]),
    }
    return {script: Sent(script, *call) for script, call in calls.items()}
