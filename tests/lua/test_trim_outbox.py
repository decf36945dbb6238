"""trim_outbox: entries that were forwarded leave the outbox, once, and what is lost is counted."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.lua.conftest import LOG, NONCE, OTHER, OUTBOX, STATE, Raw
from tests.lua.steps import SINK_LOG, SINK_META, emitted, ready, refused, repeated

KEYS = [STATE, OUTBOX]
FIELDS = ["outbox_last", "outbox_done", "outbox_lost"]


async def filled(raw: Raw, number: int = 5) -> tuple[int, list[str]]:
    """A claimed partition whose first event has emitted: the epoch and the ids of its events."""
    epoch, ids = await ready(raw)
    await emitted(raw, epoch, "0-0", ids[0], number=number)
    return epoch, ids


async def numbers(raw: Raw) -> list[str]:
    entries: Any = await raw.redis.xrange(OUTBOX)
    return [entry.decode().partition("-")[2] for entry, _ in entries]


async def counts(raw: Raw) -> list[int]:
    return [int(each or 0) for each in await raw.redis.hmget(STATE, FIELDS)]


async def test_s6_forwarded_entries_are_removed_and_a_repeat_changes_nothing(raw: Raw) -> None:
    epoch, _ = await filled(raw)
    call = (epoch, NONCE, f"{epoch}-2", 2, 0, "", "")
    assert await repeated(raw, "trim_outbox", KEYS, *call) == ([2, 3], [0, 3])
    assert await numbers(raw) == ["3", "4", "5"]
    assert await counts(raw) == [5, 2, 0]
    assert await raw.call("trim_outbox", KEYS, epoch, NONCE, f"{epoch}-5", 5, 0, "", "") == [3, 0]
    assert (await raw.claim(10))["outbox"] == 0


async def test_an_older_call_that_arrives_late_removes_nothing_more(raw: Raw) -> None:
    epoch, _ = await filled(raw)
    await raw.call("trim_outbox", KEYS, epoch, NONCE, f"{epoch}-4", 4, 1, "", "")
    before = await raw.dump()
    call = (epoch, NONCE, f"{epoch}-2", 2, 1, "", "")
    assert await raw.call("trim_outbox", KEYS, *call) == [0, 1]
    assert await raw.dump() == before


async def test_s1_it_needs_the_token(raw: Raw) -> None:
    epoch, ids = await filled(raw)
    call = (f"{epoch}-2", 2, 0, "", "")
    await refused(raw, "FENCED", raw.call("trim_outbox", KEYS, epoch, OTHER, *call))
    await refused(raw, "FENCED", raw.call("trim_outbox", KEYS, epoch + 1, NONCE, *call))
    await raw.commit(epoch, ids[0], ids[0], 0, release=1)
    await refused(raw, "FENCED", raw.call("trim_outbox", KEYS, epoch, NONCE, *call))
    newer = await raw.claim(11, OTHER)
    assert newer["outbox"] == 5
    again = (newer["epoch"], OTHER, f"{epoch}-5", 5, 0, "", "")
    assert await raw.call("trim_outbox", KEYS, *again) == [5, 0]


async def test_s7_lost_entries_are_counted_once(raw: Raw) -> None:
    epoch, _ = await filled(raw)
    await raw.redis.xdel(OUTBOX, f"{epoch}-1", f"{epoch}-2")
    call = (epoch, NONCE, f"{epoch}-3", 3, 2, "", "")
    assert await repeated(raw, "trim_outbox", KEYS, *call) == ([1, 2], [0, 2])
    assert await counts(raw) == [5, 3, 2]
    await raw.redis.delete(OUTBOX)
    call = (epoch, NONCE, "0-0", 5, 2, "", "")
    assert await repeated(raw, "trim_outbox", KEYS, *call) == ([0, 0], [0, 0])
    assert await counts(raw) == [5, 5, 4]


async def test_no_more_can_be_lost_than_was_written(raw: Raw) -> None:
    epoch, _ = await filled(raw)
    call = raw.call("trim_outbox", KEYS, epoch, NONCE, f"{epoch}-2", 2, 3, "", "")
    await refused(raw, "BADARG", call)


async def test_a_server_that_has_lost_commits_refuses_what_it_does_not_know(raw: Raw) -> None:
    epoch, _ = await filled(raw)
    call = raw.call("trim_outbox", KEYS, epoch, NONCE, f"{epoch}-6", 6, 0, "", "")
    assert await refused(raw, "CONFLICT", call) == "CONFLICT outbox_last=5"


async def test_entries_of_a_state_that_was_lost_can_be_removed(raw: Raw) -> None:
    epoch, _ = await filled(raw)
    await raw.redis.delete(STATE)
    await raw.register()
    newer = (await raw.claim(11, OTHER))["epoch"]
    call = (newer, OTHER, f"{epoch}-5", 0, 0, "", "")
    assert await repeated(raw, "trim_outbox", KEYS, *call) == ([5, 0], [0, 0])


async def test_what_the_oldest_entry_waits_for_is_stored_until_it_moves(raw: Raw) -> None:
    epoch, _ = await filled(raw)
    call = (epoch, NONCE, "0-0", 0, 0, "alerts", "no processor is registered")
    assert await repeated(raw, "trim_outbox", KEYS, *call) == ([0, 5], [0, 5])
    fields = ["outbox_waits_for", "outbox_reason", "outbox_since"]
    waits_for, reason, since = await raw.redis.hmget(STATE, fields)
    assert (waits_for, reason) == (b"alerts", b"no processor is registered")
    assert since is not None
    assert int(since) > 1_600_000_000_000
    await raw.call("trim_outbox", KEYS, epoch, NONCE, f"{epoch}-1", 1, 0, "", "")
    assert await raw.redis.hmget(STATE, fields) == [None] * 3


async def test_the_outbox_is_that_of_the_processor(raw: Raw) -> None:
    epoch, _ = await filled(raw)
    call = (epoch, NONCE, f"{epoch}-2", 2, 0, "", "")
    for key in (LOG, OUTBOX.replace("printer", "mailer")):
        await refused(raw, "BADARG", raw.call("trim_outbox", [STATE, key], *call))


@pytest.mark.parametrize("seed", range(4))
async def test_s6_an_owner_that_follows_the_page_and_dies_anywhere_forwards_each_entry_once(
    raw: Raw, seed: int
) -> None:
    """Each round a new owner commits some events, and forwards until it dies. The target is in the
    slot of the source, so that one client can call both in a cluster too."""
    rng = random.Random(seed)
    epoch, ids = await ready(raw, 40)
    at, emitted_so_far, nonce = "0-0", 0, NONCE
    for grant in range(11, 31):
        for _ in range(rng.randint(0, 3)):
            if not ids:
                break
            number = rng.randint(1, 4)
            entries: list[str | int] = []
            for _ in range(number):
                emitted_so_far += 1
                entries += [4, "to", "dead 3 8 xxh64 1000", "n", emitted_so_far]
            step: dict[str, Any] = {"number": number, "entries": tuple(entries), "nonce": nonce}
            await emitted(raw, epoch, at, ids[0], **step)
            at = ids.pop(0)
        await forward(raw, epoch, nonce, rng if grant < 30 else None)
        nonce = f"{grant:032}"
        epoch = (await raw.claim(grant, nonce))["epoch"]
    arrived: Any = await raw.redis.xrange(SINK_LOG)
    assert [int(fields[b"n"]) for _, fields in arrived] == list(range(1, emitted_so_far + 1))
    assert await counts(raw) == [emitted_so_far, emitted_so_far, 0]
    assert await raw.redis.xlen(OUTBOX) == 0


async def forward(raw: Raw, epoch: int, nonce: str, rng: random.Random | None) -> None:
    """The three steps of the page, again and again; with `rng` it may die after each call."""
    sink = [SINK_LOG, SINK_META, f"{SINK_LOG.removesuffix(':log')}:numbers"]
    last = "0-0"
    while True:
        found: Any = await raw.redis.xrange(OUTBOX, f"({last}", count=3)
        if not found:
            return
        entries: list[str | int] = []
        for entry, fields in found:
            assert fields[b"to"] == b"dead 3 8 xxh64 1000"
            entries += [entry.decode(), 2, "n", fields[b"n"].decode()]
        if rng and rng.random() < 0.1:
            return
        call = (1, 8, "xxh64", 1000, "refuse", "outbox:orders:3:printer", *entries)
        await raw.call("append_numbered", sink, *call)
        if rng and rng.random() < 0.3:
            return
        last = found[-1][0].decode()
        done = int(last.partition("-")[2])
        await raw.call("trim_outbox", KEYS, epoch, nonce, last, done, 0, "", "")
