"""describe: one partition at one instant."""

from __future__ import annotations

from tests.lua.conftest import LOG, META, STATE, Raw
from tests.lua.steps import described, ready


async def test_describe_writes_nothing_and_leaves_out_the_nonce(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    before = await raw.dump()
    flat = await raw.call("describe", [LOG, META, STATE], "printer")
    picture = dict(zip(flat[::2], flat[1::2], strict=True))
    assert await raw.dump() == before
    assert "nonce" not in picture
    assert (picture["lag"], picture["next_id"], picture["epoch"]) == ("5", ids[0], str(epoch))


async def test_describe_leaves_out_what_is_unknown(raw: Raw) -> None:
    assert set(await described(raw)) == {"now", "length"}
    await raw.append(1, 2)
    ids = await raw.ids()
    seen = await described(raw, "")
    assert (seen["length"], seen["added"]) == ("2", "2")
    assert (seen["first"], seen["last"]) == (ids[0], ids[1])
    assert (seen["meta.partitions"], seen["meta.hash"]) == ("8", "xxh64")
    assert not {"lag", "next_id", "checkpoint"} & set(seen)
