"""What several tests of the scripts begin with or end with."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest
from redis.exceptions import ResponseError

from tests.lua.conftest import Raw


async def refused(raw: Raw, word: str, call: Awaitable[Any]) -> str:
    """The call is refused with this word and has written nothing; what the refusal says."""
    before = await raw.dump()
    with pytest.raises(ResponseError, match=f"^{word}( |$)") as caught:
        await call
    assert await raw.dump() == before
    return str(caught.value)


async def repeated(raw: Raw, script: str, keys: list[str], *args: str | int) -> tuple[Any, Any]:
    """The replies to a call and to its repeat, which has written nothing."""
    first = await raw.call(script, keys, *args)
    before = await raw.dump()
    second = await raw.call(script, keys, *args)
    assert await raw.dump() == before
    return first, second


async def ready(raw: Raw, events: int = 5) -> tuple[int, list[str]]:
    """A claimed partition with events: its epoch and their ids."""
    await raw.register()
    await raw.append(1, events)
    return (await raw.claim(10))["epoch"], await raw.ids()
