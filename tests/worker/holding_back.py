"""Middleware that holds events back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from runnel import Middleware


class Pairs(Middleware):
    """Yields two events, one after the other, once it has them."""

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        kept: list[Any] = []
        async for item in parent:
            kept.append(item)
            if len(kept) == 2:
                for each in kept:
                    yield each
                kept = []


class OneBehind(Middleware):
    """Yields an event once it has the next."""

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        kept: list[Any] = []
        async for item in parent:
            kept.append(item)
            if len(kept) == 2:
                yield kept.pop(0)
