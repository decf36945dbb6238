"""The soak's own look from outside."""

from __future__ import annotations

import asyncio

from runnel.protocol import PartitionDescription
from tests.soak.watch import Watch


async def test_looks_that_are_asked_for_together_come_one_after_the_other(redis_url: str) -> None:
    """Else the reply to the first could come last, as if a checkpoint had gone back."""
    under_way: list[int] = []

    class Counting(Watch):
        async def _describe(self) -> list[PartitionDescription]:
            under_way.append(1)
            assert sum(under_way) == 1, "two looks at once"
            found = await super()._describe()
            under_way.append(-1)
            return found

    watch = Counting(redis_url)
    try:
        one, other = await asyncio.gather(watch.look(), watch.look())
        assert watch.looks == one + other
    finally:
        await watch.close()
