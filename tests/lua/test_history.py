"""What the scripts note of a lease, for people who ask who had the partition."""

from __future__ import annotations

from typing import Any

import pytest

from runnel.protocol import read_history
from tests.lua.conftest import ASIDE, LOG, META, NONCE, OTHER, PARKED, STATE, TAG, Raw
from tests.lua.steps import ready, refused


async def notes(raw: Raw) -> list[tuple[str, str | None, str]]:
    """What, member and more of each note."""
    text: Any = await raw.redis.hget(STATE, "history")
    return [(each.what, each.member, each.more) for each in read_history((text or b"").decode())]


async def test_a_life_of_a_lease_is_noted_once_each(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.claim(10)
    assert await notes(raw) == [("claimed", "me", "")], "a repeated claim is no new one"
    for _ in range(2):
        args = (epoch, NONCE, "quarantine", ids[0], 3, "Boom", "it went off")
        await raw.call("attempt", [STATE], *args)
        await raw.call("attempt", [STATE], epoch, NONCE, "failure", ids[0], 3, "Boom", "again")
    for _ in range(2):
        await raw.call("resume", [STATE])
    for _ in range(2):
        await raw.call("pause", [STATE])
    later = (await raw.claim(11, OTHER))["epoch"]
    await refused(raw, "FENCED", raw.commit(epoch, "0-0", ids[0], 1))
    for _ in range(2):
        await raw.commit(later, "0-0", ids[0], 1, 1, OTHER)
    await raw.claim(12)
    assert await notes(raw) == [
        ("claimed", "me", ""),
        ("quarantined", "me", ids[0]),
        ("resumed", None, ""),
        ("paused", None, ""),
        ("took_over", "me", "me"),
        ("released", "me", ""),
        ("claimed", "me", ""),
    ]
    text: Any = await raw.redis.hget(STATE, "history")
    found = read_history(text.decode())
    assert [found[0].epoch, found[4].epoch, found[5].epoch] == [epoch, later, later]
    seconds, micros = await raw.redis.time()
    now = seconds * 1000 + micros // 1000
    assert all(now - 60_000 < each.at_ms <= now for each in found)


async def test_what_ends_a_lease_from_outside_is_noted(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    table = f"runnel:{TAG}:table:totals"
    keys = [LOG, META, STATE, table]
    effects = ("table", 1, 0, "f", "v")
    await raw.call("transact", keys, "printer", epoch, NONCE, "0-0", ids[0], 1, 1, *effects)
    await raw.call("seek", [LOG, META, STATE, table], "printer", ids[3], "", "s" * 16)
    await raw.claim(11, OTHER)
    await raw.redis.hset(META, "table:totals", "printer")
    await raw.call("clear_table", [META, STATE, table], "printer", "c" * 16)
    parked, parked_keys, _ = PARKED
    entry: Any = await raw.redis.xadd(parked, {"key": "k", "event": ids[0]})
    await raw.redis.hset(parked_keys, "k", "1")
    for _ in range(2):
        await raw.call("replay", [STATE, *PARKED[1:]], "r" * 16, "k")
    await raw.call("drop_parked", [STATE, *ASIDE], "d" * 16, entry.decode())
    assert (await notes(raw))[1:] == [
        ("released", "me", ""),
        ("sought", None, ids[2]),
        ("claimed", "me", ""),
        ("cleared", None, "totals"),
        ("replayed", None, ""),
        ("dropped", None, ""),
    ]


async def test_a_loss_is_noted_once_by_the_claim_that_accepts_it(raw: Raw) -> None:
    _, ids = await ready(raw)
    await raw.redis.xtrim(LOG, minid=ids[2], approximate=False)
    assert (await raw.claim(10))["lost"] == 2
    assert await notes(raw) == [("claimed", "me", "")], "it is not accepted yet"
    for _ in range(2):
        await raw.claim(10, accept="2")
    assert await notes(raw) == [("claimed", "me", ""), ("lost", "me", "2")]


async def test_the_newest_twenty_notes_are_kept(raw: Raw) -> None:
    await ready(raw)
    for number in range(30):
        await raw.claim(11 + number, f"{number:016}")
    found = await notes(raw)
    assert len(found) == 20
    text: Any = await raw.redis.hget(STATE, "history")
    epochs = [each.epoch for each in read_history(text.decode())]
    assert epochs == sorted(epochs)
    assert epochs[-1] == int(await raw.redis.hget(STATE, "epoch") or 0)


@pytest.mark.parametrize("before", [b"", b"\xff\n", b"x" * 300 + b"\n", b"\n" * 50])
async def test_a_name_or_a_history_that_others_wrote_breaks_no_line(
    raw: Raw, before: bytes
) -> None:
    await ready(raw)
    await raw.redis.hset(STATE, "history", before)
    member = "w 1\nw-2\x00" + "ł" * 300
    keys = [LOG, META, STATE]
    args = (1, 8, "xxh64", "printer", member, 11, OTHER, "")
    await raw.call("claim", keys, *args)
    text: Any = await raw.redis.hget(STATE, "history")
    assert len(text) < 1000
    *_, last = read_history(text.decode(errors="replace"))
    assert last.what in ("took_over", "claimed")
    assert text.endswith(b"\n")
    assert b"\x00" not in text


async def test_a_traceback_is_kept_until_the_event_is_behind_the_checkpoint(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    said = (epoch, NONCE, "failure", ids[0], 1, "Boom", "it went off")
    await raw.call("attempt", [STATE], *said, "line 1\nline 2")
    assert await raw.redis.hget(STATE, "error_traceback") == b"line 1\nline 2"
    reply = await raw.call("describe", [LOG, META, STATE], "printer")
    assert "error_type" in reply
    assert not {"error_traceback", "history", "nonce"} & set(reply)
    await raw.call("attempt", [STATE], *said)
    assert await raw.redis.hget(STATE, "error_traceback") == b""
    await raw.call("attempt", [STATE], *said, "x" * 4000)
    for rest in (("x" * 4001,), ("x", "y")):
        await refused(raw, "BADARG", raw.call("attempt", [STATE], *said, *rest))
    await raw.commit(epoch, "0-0", ids[0], 1)
    assert await raw.redis.hget(STATE, "error_traceback") is None
