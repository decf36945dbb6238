"""check_acl: which commands the calling user may run."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from tests.lua.conftest import LOG, META, Raw


async def test_each_command_is_checked_and_none_is_run(raw: Raw) -> None:
    await raw.redis.hset(META, "a", "b")
    before = await raw.dump()
    asked = (2, "DEL", META, 1, "TIME", 4, "XADD", LOG, "*", "a", 2, "NOSUCHCOMMAND", LOG)
    assert await raw.call("check_acl", [], *asked) == [1, 1, 1, -1]
    assert await raw.dump() == before


@pytest.mark.parametrize(
    "args",
    [
        (),
        (0,),
        (2, "DEL"),
        (1, "evalsha"),
        (2, "EVAL", "return 1"),
        (2, "fcall_ro", "f"),
        ("x", "DEL"),
        ("1.5", "DEL"),
        (-1, "DEL"),
        (101, *["x"] * 101),
        (1, "TIME") * 1001,
    ],
)
async def test_a_malformed_check_is_refused(raw: Raw, args: tuple[int | str, ...]) -> None:
    with pytest.raises(ResponseError, match="BADARG field=commands"):
        await raw.call("check_acl", [], *args)


async def test_a_check_has_no_keys(raw: Raw) -> None:
    with pytest.raises(ResponseError, match="BADARG"):
        await raw.call("check_acl", [META], 1, "TIME")
