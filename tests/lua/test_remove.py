"""remove: the end of a processor's registration."""

from __future__ import annotations

from typing import Any

from tests.lua.conftest import ASIDE, LOG, META, OTHER, OUTBOX, STATE, Raw
from tests.lua.steps import described, emitted, ready, refused, repeated

KEYS = [LOG, META, STATE, OUTBOX, *ASIDE]


async def test_claims_of_a_removed_processor_say_that_it_was_removed(
    raw: Raw,
) -> None:
    await ready(raw)
    assert await raw.call("remove", KEYS, "printer") == 1
    assert await raw.call("remove", KEYS, "printer") == 0
    assert "removed=1" in await refused(raw, "UNREGISTERED", raw.claim(11, OTHER))
    assert await raw.redis.xinfo_groups(LOG) == []


async def test_the_fields_of_removed_processors_are_kept_for_a_day_and_at_most_100(
    raw: Raw,
) -> None:
    await raw.register()
    now = int((await described(raw))["now"])
    await raw.redis.hset(
        META,
        mapping={
            "removed:of-old": "1",
            "removed:junk": "nan",
            "removed:before-yesterday": str(now - 2 * 86_400_000),
            **{f"removed:q{number}": str(now - number) for number in range(150)},
        },
    )
    await raw.call("remove", KEYS, "printer")
    fields: Any = await raw.redis.hkeys(META)
    marks = {name for name in fields if name.startswith(b"removed:")}
    assert marks == {b"removed:printer", *(f"removed:q{number}".encode() for number in range(99))}


async def test_a_removed_processor_can_be_registered_again(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[1], 2)
    assert await repeated(raw, "remove", KEYS, "printer") == (1, 0)
    assert await raw.register() == [1, "0-0"]
    assert await raw.redis.hget(META, "removed:printer") is None
    await refused(raw, "FENCED", raw.commit(epoch, ids[1], ids[2], 1))
    assert (await raw.claim(1))["processed"] == 0


async def test_s4_a_processor_is_not_removed_while_emitted_entries_wait(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await emitted(raw, epoch, "0-0", ids[0], number=3)
    said = await refused(raw, "UNFORWARDED", raw.call("remove", KEYS, "printer"))
    assert said == f"UNFORWARDED waiting=3 outbox={OUTBOX}"
    await raw.redis.xtrim(OUTBOX, maxlen=0, approximate=False)
    assert await repeated(raw, "remove", KEYS, "printer") == (1, 0)
    assert await raw.redis.exists(OUTBOX) == 0
