"""Makes scripts read the time from a key, so that tests can set it.

The shared clock block of a script reads the server's TIME in one line. `with_virtual_clock`
replaces only that line by a read of a hash with seconds and microseconds.
"""

from __future__ import annotations

#: A hash on the server under test that holds the time: whole seconds and microseconds.
CLOCK_KEY = "runnel-virtual-clock"
SECONDS, MICROSECONDS = "s", "us"

_BEGIN, _END = b"-- >>> clock\n", b"-- <<< clock\n"
REAL = b"local time = redis.call('TIME')\n"
VIRTUAL = REAL.replace(b"'TIME'", f"'HMGET', '{CLOCK_KEY}', '{SECONDS}', '{MICROSECONDS}'".encode())


def with_virtual_clock(source: bytes) -> bytes:
    """The script with its time read from CLOCK_KEY; unchanged if it reads no time.

    Raises ValueError if the script reads the time elsewhere than in one clock block, or if its
    block has not exactly one such line.
    """
    before, begin, rest = source.partition(_BEGIN)
    block, end, after = rest.partition(_END)
    if b"'TIME'" in before or b"'TIME'" in after or _BEGIN in after:
        raise ValueError("the script reads the time outside of its one clock block")
    if not begin:
        return source
    if not end or block.count(REAL) != 1 or block.count(b"'TIME'") != 1:
        raise ValueError("the clock block must have exactly the one line that reads TIME")
    return before + begin + block.replace(REAL, VIRTUAL) + end + after


def clock_fields(ms: int) -> dict[str, str]:
    """The fields of CLOCK_KEY with which scripts read `ms`, milliseconds since 1970."""
    return {SECONDS: str(ms // 1000), MICROSECONDS: str(ms % 1000 * 1000)}
