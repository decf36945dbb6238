"""Makes scripts read the time from a key, so that tests can set it.

Two shared blocks read the server's TIME, each in one line: `clock`, and `overdue`, which reads it
only if delayed events wait. `with_virtual_clock` replaces only these lines by reads of a hash with
seconds and microseconds.
"""

from __future__ import annotations

#: A hash on the server under test that holds the time: whole seconds and microseconds.
CLOCK_KEY = "runnel-virtual-clock"
SECONDS, MICROSECONDS = "s", "us"

#: Block -> the line in it that reads the time.
REAL = {
    b"clock": b"local time = redis.call('TIME')\n",
    b"overdue": b"  local clock = redis.call('TIME')\n",
}
VIRTUAL = {
    block: line.replace(
        b"'TIME'", f"'HMGET', '{CLOCK_KEY}', '{SECONDS}', '{MICROSECONDS}'".encode()
    )
    for block, line in REAL.items()
}


def with_virtual_clock(source: bytes) -> bytes:
    """The script with its time read from CLOCK_KEY; unchanged if it reads no time.

    Raises ValueError if the script reads the time elsewhere than in one block of each kind, or if
    such a block has not exactly its one line.
    """
    for name, line in REAL.items():
        before, begin, rest = source.partition(b"-- >>> " + name + b"\n")
        block, end, after = rest.partition(b"-- <<< " + name + b"\n")
        if not begin:
            continue
        if not end or block.count(line) != 1 or block.count(b"'TIME'") != 1:
            raise ValueError(f"the {name.decode()} block must have exactly its one line with TIME")
        source = before + begin + block.replace(line, VIRTUAL[name]) + end + after
    if b"'TIME'" in source:
        raise ValueError("the script reads the time outside of its clock blocks")
    return source


def clock_fields(ms: int) -> dict[str, str]:
    """The fields of CLOCK_KEY with which scripts read `ms`, milliseconds since 1970."""
    return {SECONDS: str(ms // 1000), MICROSECONDS: str(ms % 1000 * 1000)}
