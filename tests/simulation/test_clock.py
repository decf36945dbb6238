"""The virtual clock changes only the line of a script that reads the time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.clock import CLOCK_KEY, REAL, VIRTUAL, clock_fields, with_virtual_clock

SCRIPTS = sorted((Path(__file__).parents[2] / "lua").glob("*.lua"))
#: Scripts that do not read the time.
TIMELESS = {
    *("declare", "register", "revoke", "acknowledge"),
    *("check_acl", "copy_table", "cancel"),
}
#: Scripts that read it if delayed events wait.
OVERDUE = {"append", "append_numbered", "append_once"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_nothing_differs_but_the_line_that_reads_the_time(path: Path) -> None:
    source = path.read_bytes()
    shipped = source.splitlines(keepends=True)
    virtual = with_virtual_clock(source).splitlines(keepends=True)
    assert len(shipped) == len(virtual)
    differing = [(a, b) for a, b in zip(shipped, virtual, strict=True) if a != b]
    blocks = [b"clock"] if path.stem not in TIMELESS else []
    blocks += [b"overdue"] if path.stem in OVERDUE else []
    assert sorted(differing) == sorted((REAL[each], VIRTUAL[each]) for each in blocks)
    assert b"'TIME'" not in with_virtual_clock(source)


def test_a_script_that_reads_the_time_elsewhere_is_refused() -> None:
    line = REAL[b"clock"]
    block = b"-- >>> clock\n" + line + b"-- <<< clock\n"
    assert with_virtual_clock(b"a\n" + block + b"b\n").count(CLOCK_KEY.encode()) == 1
    with pytest.raises(ValueError, match="outside"):
        with_virtual_clock(b"local t = redis.call('TIME')\n")
    with pytest.raises(ValueError, match="outside"):
        with_virtual_clock(block + block)
    with pytest.raises(ValueError, match="exactly its one line"):
        with_virtual_clock(block.replace(line, line + line))
    with pytest.raises(ValueError, match="exactly its one line"):
        with_virtual_clock(block.replace(line, b""))
    with pytest.raises(ValueError, match="exactly its one line"):
        with_virtual_clock(b"-- >>> clock\n" + line)


def test_milliseconds_become_seconds_and_microseconds() -> None:
    assert clock_fields(1_700_000_000_123) == {"s": "1700000000", "us": "123000"}
