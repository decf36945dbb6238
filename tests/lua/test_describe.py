"""describe: one partition at one instant."""

from __future__ import annotations

import re
from typing import Any

from runnel.protocol.scripts import folder
from tests.lua.conftest import LOG, META, NONCE, OTHER, PARKED, STATE, Raw
from tests.lua.parking import entry, park
from tests.lua.postponing import postpone
from tests.lua.steps import described, ready, transact


async def test_describe_writes_nothing_and_leaves_out_the_nonce(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    before = await raw.dump()
    flat = await raw.call("describe", [LOG, META, STATE], "printer")
    description = dict(zip(flat[::2], flat[1::2], strict=True))
    assert await raw.dump() == before
    assert "nonce" not in description
    assert (description["lag"], description["next_id"], description["epoch"]) == (
        "5",
        ids[0],
        str(epoch),
    )


async def test_describe_leaves_out_what_is_unknown(raw: Raw) -> None:
    assert set(await described(raw)) == {"now", "length"}
    await raw.append(1, 2)
    ids = await raw.ids()
    seen = await described(raw, "")
    assert (seen["length"], seen["added"]) == ("2", "2")
    assert (seen["first"], seen["last"]) == (ids[0], ids[1])
    assert (seen["meta.partitions"], seen["meta.hash"]) == ("8", "xxh64")
    assert not {"lag", "next_id", "checkpoint"} & set(seen)


async def test_the_protocol_page_lists_every_field_of_a_state(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    outbox = STATE.replace(":processor:", ":outbox:")
    emitted = ("outbox", 10, 1, 4, "to", "alerts 0 1 xxh64 10", "f", "v")
    await transact(raw, epoch, "0-0", ids[0], keys=(outbox,), effects=emitted)
    trim = (epoch, NONCE, "0-0", 1, 1, "alerts", "it is full")
    await raw.call("trim_outbox", [STATE, outbox], *trim)
    await raw.call("attempt", [STATE], epoch, NONCE, "wait", ids[0], 0, "alerts", "of mail")
    await raw.call("seek", [LOG, META, STATE], "printer", ids[1], "", OTHER)
    await raw.redis.hset(f"{META.removesuffix(':meta')}:table:t", "f", "v")
    clear_keys = [META, STATE, f"{META.removesuffix(':meta')}:table:t"]
    await raw.call("clear_table", clear_keys, "printer", OTHER)
    await raw.redis.xtrim(LOG, maxlen=2, approximate=False)
    await raw.claim(11, accept="2")
    await raw.redis.hset(PARKED[1], "alice", "1")
    await raw.call("replay", [STATE, *PARKED[1:]], OTHER, "alice")
    claimed = await raw.claim(12)
    epoch = claimed["epoch"]
    step = (epoch, claimed["checkpoint"], ids[3])
    await park(raw, *step, entry("alice", ids[3]))
    await postpone(raw, epoch, ids[3], ids[4], 60_000)
    await raw.call("attempt", [STATE], epoch, NONCE, "quarantine", ids[3], 1, "Boom", "x")
    await raw.call("pause", [STATE])
    fields: Any = await raw.redis.hkeys(STATE)
    stored = {each.decode() for each in fields}
    page = (folder() / "README.md").read_text()
    table = page.partition("| field | holds |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\|([^|]*)\|", table, re.M)
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == stored
