"""Malformed calls are refused and write nothing. See test_attempt and test_emit, too."""

from __future__ import annotations

import pytest

from tests.lua.conftest import (
    ASIDE,
    LOG,
    MEMBERS,
    META,
    NONCE,
    NUMBERS,
    OUTBOX,
    PLAN,
    PRODUCERS,
    SESSIONS,
    STATE,
    Raw,
)
from tests.lua.steps import emit, ready, refused

PARTITION = [LOG, META, STATE]
KEYS = {
    "acknowledge": [STATE],
    "append": [LOG, META, PRODUCERS],
    "append_numbered": [LOG, META, NUMBERS],
    "append_once": [LOG, META, f"{LOG.removesuffix(':log')}:dedupe:order-17"],
    "attempt": [STATE],
    "declare": [META],
    "elect": ["runnel:{shop}:leader"],
    "pause": [STATE],
    "remove": [LOG, META, STATE, OUTBOX, *ASIDE],
    "resume": [STATE],
    "tick": ["runnel:{shop}:ticks"],
    "trim": [LOG, META],
    "trim_outbox": [STATE, OUTBOX],
}
#: More entries than one call may have.
MANY: list[str | int] = [2, "f", "v"] * 1001
#: As many numbered ones.
NUMBERED: list[str | int] = [value for i in range(1001) for value in (f"0-{i}", 2, "f", "v")]
MALFORMED: list[tuple[str, list[str | int]]] = [
    ("declare", [1, 0, "xxh64"]),
    ("declare", [1, 8, ""]),
    ("declare", []),
    ("register", []),
    ("register", ["x", 8, "xxh64", "printer", "0"]),
    ("register", [1, 0, "xxh64", "printer", "0"]),
    ("register", [1, 10001, "xxh64", "printer", "0"]),
    ("register", [1, 8, "", "printer", "0"]),
    ("register", [1, 8, "xxh64", "", "0"]),
    ("register", [1, 8, "xxh64", "printer", "5-0"]),
    ("claim", [1, 8, "xxh64", "printer", "me", 0, NONCE, ""]),
    ("claim", [1, 8, "xxh64", "printer", "me", "1.5", NONCE, ""]),
    ("claim", [1, 8, "xxh64", "printer", "me", 1, "short", ""]),
    ("claim", [1, 8, "xxh64", "printer", "", 1, NONCE, ""]),
    ("claim", [1, 8, "xxh64", "printer", "me", 1, NONCE, "-1"]),
    ("claim", [1, 8, "xxh64", "printer", "me", 1, NONCE]),
    ("commit", ["printer", 1, NONCE, "0-0", "1-0", 1]),
    ("commit", ["printer", 1, NONCE, "0-0", "one", 1, 0]),
    ("commit", ["printer", 1, NONCE, "0-0", "1-0", "-1", 0]),
    ("commit", ["printer", 1, NONCE, "0-0", "1-0", 1, 2]),
    ("append", [1, 8, "xxh64", 100, "refuse", "p", 1]),
    ("append", [1, 8, "xxh64", 1, "refuse", "p", 1, 2, "f", "v"]),
    ("append", [1, 8, "xxh64", 100, "shed", "p", 1, 2, "f", "v"]),
    ("append", [1, 8, "xxh64", 100, "refuse", "", 1, 2, "f", "v"]),
    ("append", [1, 8, "xxh64", 100, "refuse", "p", 0, 2, "f", "v"]),
    ("append", [1, 8, "xxh64", 100, "refuse", "p", 1, 3, "f", "v", "g"]),
    ("append", [1, 8, "xxh64", 100, "refuse", "p", 1, 4, "f", "v"]),
    ("append", [1, 8, "xxh64", 2, "refuse", "p", 1, 2, "f", "v", 2, "f", "v"]),
    ("append", ["x", 8, "xxh64", 100, "refuse", "p", 1, 2, "f", "v"]),
    ("append", [1, "x", "xxh64", 100, "refuse", "p", 1, 2, "f", "v"]),
    ("append", [1, 10001, "xxh64", 100, "refuse", "p", 1, 2, "f", "v"]),
    ("append", [1, 8, "", 100, "refuse", "p", 1, 2, "f", "v"]),
    ("append", [1, 8, "xxh64", "x", "refuse", "p", 1, 2, "f", "v"]),
    ("append", [1, 8, "xxh64", "10.5", "refuse", "p", 1, 2, "f", "v"]),
    ("append", [1, 8, "xxh64", 100, "refuse", "p", "1.5", 2, "f", "v"]),
    ("append", [1, 8, "xxh64", 100, "refuse", "p", 10**15, 2, "f", "v"]),
    ("append", [1, 8, "xxh64", 100, "refuse", "p", 1, 0, "f", "v"]),
    ("append", [1, 8, "xxh64", 100, "refuse", "p", 1, "x", "f", "v"]),
    ("append", [1, 8, "xxh64", 5000, "refuse", "p", 1, 1002, *["f"] * 1002]),
    ("append", [1, 8, "xxh64", 5000, "refuse", "p", 1, *MANY]),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "producer:p"]),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "producer:p", "0-1", 2, "f"]),
    ("append_numbered", [1, 8, "xxh64", 1, "refuse", "producer:p", "0-1", 2, "f", "v"]),
    (
        "append_numbered",
        [1, 8, "xxh64", 2, "refuse", "producer:p", "0-1", 2, "f", "v", "0-2", 2, "f", "v"],
    ),
    ("append_numbered", [1, 8, "xxh64", "x", "refuse", "producer:p", "0-1", 2, "f", "v"]),
    ("append_numbered", [1, 8, "xxh64", "10.5", "refuse", "producer:p", "0-1", 2, "f", "v"]),
    ("append_numbered", [1, 8, "xxh64", 100, "shed", "producer:p", "0-1", 2, "f", "v"]),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "", "0-1", 2, "f", "v"]),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "p", "0-1", 2, "f", "v"]),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "producer:", "0-1", 2, "f", "v"]),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "till:p", "0-1", 2, "f", "v"]),
    (
        "append_numbered",
        [1, 8, "xxh64", 100, "refuse", "producer:" + "p" * 392, "0-1", 2, "f", "v"],
    ),
    ("append_numbered", ["x", 8, "xxh64", 100, "refuse", "producer:p", "0-1", 2, "f", "v"]),
    ("append_numbered", [1, "x", "xxh64", 100, "refuse", "producer:p", "0-1", 2, "f", "v"]),
    ("append_numbered", [1, 10001, "xxh64", 100, "refuse", "producer:p", "0-1", 2, "f", "v"]),
    ("append_numbered", [1, 8, "", 100, "refuse", "producer:p", "0-1", 2, "f", "v"]),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "producer:p", 1, 2, "f", "v"]),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "producer:p", "0", 2, "f", "v"]),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "producer:p", "-1", 2, "f", "v"]),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "producer:p", "0-x", 2, "f", "v"]),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "producer:p", "0-1-2", 2, "f", "v"]),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "producer:p", "0--1", 2, "f", "v"]),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "producer:p", "9" * 40 + "-0", 2, "f", "v"]),
    (
        "append_numbered",
        [1, 8, "xxh64", 100, "refuse", "producer:p", "0-2", 2, "f", "v", "0-1", 2, "f", "v"],
    ),
    (
        "append_numbered",
        [1, 8, "xxh64", 100, "refuse", "producer:p", "0-1", 2, "f", "v", "0-1", 2, "f", "v"],
    ),
    (
        "append_numbered",
        [1, 8, "xxh64", 100, "refuse", "producer:p", "0-1", 2, "f", "v", "00-01", 2, "f", "v"],
    ),
    (
        "append_numbered",
        [1, 8, "xxh64", 100, "refuse", "producer:p", "1-0", 2, "f", "v", "0-9", 2, "f", "v"],
    ),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "producer:p", "0-1", 0, "f", "v"]),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "producer:p", "0-1", 1, "f", "v"]),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "producer:p", "0-1", 3, "f", "v"]),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "producer:p", "0-1", 4, "f", "v"]),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "producer:p", "0-1", "x", "f", "v"]),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "producer:p", "0-1", 2, "f", "v", "0-2"]),
    ("append_numbered", [1, 8, "xxh64", 100, "refuse", "producer:p", "0-1", 2, "f", "v", "0-2", 2]),
    ("append_numbered", [1, 8, "xxh64", 5000, "refuse", "producer:p", "0-1", 1002, *["f"] * 1002]),
    ("append_numbered", [1, 8, "xxh64", 5000, "refuse", "producer:p", *NUMBERED]),
    ("append_once", [1, 8, "xxh64", 100, "refuse", 60_000]),
    ("append_once", [1, 8, "xxh64", 100, "refuse", 60_000, 2, "f"]),
    ("append_once", [1, 8, "xxh64", 100, "refuse", 60_000, 2, "f", "v", 2]),
    ("append_once", [1, 8, "xxh64", 100, "refuse", 60_000, 2, "f", "v", 2, "f", "v"]),
    ("append_once", [1, 8, "xxh64", 1, "refuse", 60_000, 2, "f", "v"]),
    ("append_once", [1, 8, "xxh64", "x", "refuse", 60_000, 2, "f", "v"]),
    ("append_once", [1, 8, "xxh64", 100, "shed", 60_000, 2, "f", "v"]),
    ("append_once", [1, 8, "xxh64", 100, "refuse", 0, 2, "f", "v"]),
    ("append_once", [1, 8, "xxh64", 100, "refuse", -1, 2, "f", "v"]),
    ("append_once", [1, 8, "xxh64", 100, "refuse", "1.5", 2, "f", "v"]),
    ("append_once", [1, 8, "xxh64", 100, "refuse", "", 2, "f", "v"]),
    ("append_once", [1, 8, "xxh64", 100, "refuse", 10**15, 2, "f", "v"]),
    ("append_once", ["x", 8, "xxh64", 100, "refuse", 60_000, 2, "f", "v"]),
    ("append_once", [1, 0, "xxh64", 100, "refuse", 60_000, 2, "f", "v"]),
    ("append_once", [1, 8, "", 100, "refuse", 60_000, 2, "f", "v"]),
    ("append_once", [1, 8, "xxh64", 100, "refuse", 60_000, 0, "f", "v"]),
    ("append_once", [1, 8, "xxh64", 100, "refuse", 60_000, 1, "f", "v"]),
    ("append_once", [1, 8, "xxh64", 100, "refuse", 60_000, 3, "f", "v"]),
    ("append_once", [1, 8, "xxh64", 100, "refuse", 60_000, 4, "f", "v"]),
    ("append_once", [1, 8, "xxh64", 100, "refuse", 60_000, "x", "f", "v"]),
    ("append_once", [1, 8, "xxh64", 100, "refuse", 60_000, 1002, *["f"] * 1002]),
    ("attempt", [1, NONCE, "explode", "1-0", 1, "", ""]),
    ("attempt", [1, NONCE, "start", "one", 1, "", ""]),
    ("attempt", [1, NONCE, "start", "1-0", "many", "", ""]),
    ("seek", ["printer", "yesterday", "", NONCE]),
    ("seek", ["printer", "0", "x", NONCE]),
    ("seek", ["printer", "0", "", "short"]),
    ("acknowledge", []),
    ("acknowledge", ["x"]),
    ("acknowledge", [-1]),
    ("acknowledge", ["1.5"]),
    ("acknowledge", [10**15]),
    ("pause", ["x"]),
    ("resume", ["x"]),
    ("remove", [""]),
    ("remove", []),
    ("trim", [0, 0, "refuse"]),
    ("trim", [1, 1, "refuse"]),
    ("trim", [1, 0, "shed"]),
    ("trim", [1, 0]),
    ("trim", [-1, 0, "refuse"]),
    ("trim", ["1.5", 0, "refuse"]),
    ("trim", [10**15, 0, "refuse"]),
    ("trim", [0, "x", "refuse"]),
    ("trim", [0, 10**15, "refuse"]),
    ("trim_outbox", [1, NONCE, "1-1", 1, 0, ""]),
    ("trim_outbox", [1, NONCE, "one", 1, 0, "", ""]),
    ("trim_outbox", [1, NONCE, "1-" + "1" * 16, 1, 0, "", ""]),
    ("trim_outbox", [1, NONCE, "1-1", -1, 0, "", ""]),
    ("trim_outbox", [1, NONCE, "1-1", "1" * 16, 0, "", ""]),
    ("trim_outbox", [1, NONCE, "1-1", 1, "1.5", "", ""]),
    ("trim_outbox", [1, NONCE, "1-1", 1, 0, "s" * 1001, ""]),
    ("trim_outbox", [1, NONCE, "1-1", 1, 0, "alerts", "r" * 1001]),
    ("describe", []),
    ("elect", ["", "n", 5000, "hold"]),
    ("elect", ["a", "", 5000, "hold"]),
    ("elect", ["a", "n", 5, "hold"]),
    ("elect", ["a", "n", 5000, "grab"]),
    ("elect", ["a", "n", "nan", "hold"]),
    ("elect", ["a", "n", "1e3", "hold"]),
    ("elect", ["a", "n", "500.5", "hold"]),
    ("tick", ["", 1, "x", "* * * * * UTC"]),
    ("tick", ["t", "x", "x", "* * * * * UTC"]),
    ("tick", ["t", "01", "x", "* * * * * UTC"]),
    ("tick", ["t", 1, "", "* * * * * UTC"]),
    ("tick", ["t", 1, "x", ""]),
    ("tick", ["t", 1, "x", "s" * 201]),
    ("tick", ["t", 1, "x"]),
]


@pytest.mark.parametrize(("script", "args"), MALFORMED)
async def test_a_malformed_call_is_refused_and_writes_nothing(
    raw: Raw, script: str, args: list[str | int]
) -> None:
    await refused(raw, "BADARG", raw.call(script, KEYS.get(script, PARTITION), *args))


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (0, 0), (0, 10001), (0, "x"), (1, 50), (1, "x"), (2, -1), (2, "nan"), (2, "inf"),
        (2, "9" * 20), (3, "x"), (3, "1.5"), (3, "nan"), (4, ""), (4, "-"), (4, "a b"), (5, "-"),
        (5, "a b"), (5, "i" * 65), (6, 0), (6, "1.5"), (6, "1e3"), (6, "9" * 20), (7, "go"),
        (8, "d" * 1001), (8, "h 1 x 1 ABCDEF0"), (8, "h 1 x 1 abcdef"), (8, "h 1 x 1 " + "a" * 41),
        (8, "h 1 x 1 abcdefg more"), (8, "h 1 x 1 \0bcdef0"),
        (9, -1), (9, 3), (9, "x"), (9, "1.0"), (9, " 1"), (10, "9" * 16),
    ],
)  # fmt: skip
async def test_a_malformed_sync_is_refused_and_writes_nothing(
    raw: Raw, index: int, value: str | int
) -> None:
    args: list[str | int] = [8, 10_000, 5_000, 0, "a", "a1", 1, "stay", "host", 0, 1, 1, 0]
    assert len((await raw.call("sync", [PLAN, MEMBERS, SESSIONS], *args))[4:]) == 24
    await raw.redis.flushall()
    args[index] = value
    await refused(raw, "BADARG", raw.call("sync", [PLAN, MEMBERS, SESSIONS], *args))


@pytest.mark.parametrize("size", ["nan", "inf", "0x10", "1e3", "9" * 16])
async def test_a_size_that_is_no_plain_integer_is_refused(raw: Raw, size: str) -> None:
    epoch, ids = await ready(raw)
    await refused(raw, "BADARG", emit(raw, epoch, "0-0", ids[0], size=size))
    append = raw.append(2, 1, size=size)  # type: ignore[arg-type]
    await refused(raw, "BADARG", append)
    assert (await emit(raw, epoch, "0-0", ids[0], size="10"))[0] == 1
