"""clear_table: a table of one partition is deleted, and its writer is fenced and forgotten."""

from __future__ import annotations

import pytest

from tests.lua.conftest import ASIDE, LOG, META, NONCE, OTHER, OUTBOX, STATE, Raw
from tests.lua.steps import ready, refused, repeated, transact

TABLE = META.replace(":meta", ":table:balances")
KEYS = [META, STATE, TABLE]
THIRD = "2" * 32
SETS = ("table", 2, 0, "alice", "5", "bob", "7")


async def written(raw: Raw) -> tuple[int, list[str]]:
    """A claimed partition, of which the first event has written two fields."""
    epoch, ids = await ready(raw)
    await transact(raw, epoch, "0-0", ids[0], keys=(TABLE,), effects=SETS)
    return epoch, ids


async def test_s1_a_cleared_table_is_gone_and_its_writer_is_fenced(raw: Raw) -> None:
    epoch, ids = await written(raw)
    assert await repeated(raw, "clear_table", KEYS, "printer", OTHER) == (2, 0)
    assert await raw.redis.exists(TABLE) == 0
    assert await raw.redis.hexists(META, "table:balances") is False
    # The owner knows values that are gone: it must not add to them.
    more = transact(raw, epoch, ids[0], ids[1], keys=(TABLE,), effects=SETS)
    await refused(raw, "FENCED", more)
    await refused(raw, "FENCED", raw.commit(epoch, ids[0], ids[1], 1))


async def test_the_writer_goes_on_from_its_checkpoint_after_its_next_claim(raw: Raw) -> None:
    _, ids = await written(raw)
    await raw.call("clear_table", KEYS, "printer", OTHER)
    found = await raw.claim(11, THIRD)
    assert (found["checkpoint"], found["unclean_tenures"]) == (ids[0], 0)
    step = (found["epoch"], ids[0], ids[1], 0, THIRD)
    assert await transact(raw, *step, keys=(TABLE,), effects=SETS) == [1, 0]
    assert await raw.redis.hlen(TABLE) == 2


async def test_s6_a_repeat_is_recognised_after_the_next_claim_too(raw: Raw) -> None:
    _, ids = await written(raw)
    await raw.call("clear_table", KEYS, "printer", OTHER)
    epoch = (await raw.claim(11, THIRD))["epoch"]
    await transact(raw, epoch, ids[0], ids[1], 0, THIRD, keys=(TABLE,), effects=SETS)
    before = await raw.dump()
    assert await raw.call("clear_table", KEYS, "printer", OTHER) == 0
    assert await raw.dump() == before
    assert await raw.call("clear_table", KEYS, "printer", NONCE) == 2


async def test_another_processor_may_write_a_cleared_table(raw: Raw) -> None:
    await written(raw)
    keys = [LOG, META, STATE.replace("printer", "mailer")]
    await raw.call("register", keys, 1, 8, "xxh64", "mailer", "0")
    (epoch, *_) = await raw.call("claim", keys, 1, 8, "xxh64", "mailer", "me", 5, THIRD, "")
    (first, *_) = await raw.ids()
    step = ("mailer", epoch, THIRD, "0-0", first, 1, 0)
    call = ("transact", [*keys, TABLE])
    await refused(raw, "NOT_WRITER", raw.call(*call, *step, *SETS))
    await raw.call("clear_table", KEYS, "printer", OTHER)
    assert await raw.call(*call, *step, *SETS) == [1, 0]
    said = await refused(raw, "NOT_WRITER", raw.call("clear_table", KEYS, "printer", NONCE))
    assert said == "NOT_WRITER table=balances writer=mailer"


async def test_a_table_that_nobody_wrote_is_cleared_without_a_trace(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    before = await raw.dump()
    assert await raw.call("clear_table", KEYS, "printer", OTHER) == 0
    assert await raw.dump() == before
    await raw.commit(epoch, "0-0", ids[0], 1)


async def test_the_state_of_a_removed_writer_is_not_made_again(raw: Raw) -> None:
    await written(raw)
    await raw.call("remove", [LOG, META, STATE, OUTBOX, *ASIDE], "printer")
    assert await repeated(raw, "clear_table", KEYS, "printer", OTHER) == (2, 0)
    assert await raw.redis.exists(STATE, TABLE) == 0


@pytest.mark.parametrize("arguments", [("", OTHER), ("printer", "short"), ("printer", "n" * 65)])
async def test_a_malformed_call_writes_nothing(raw: Raw, arguments: tuple[str, str]) -> None:
    await written(raw)
    await refused(raw, "BADARG", raw.call("clear_table", KEYS, *arguments))


async def test_the_key_of_a_table_has_the_form_of_one(raw: Raw) -> None:
    await written(raw)
    await refused(raw, "BADARG", raw.call("clear_table", [META, STATE, LOG], "printer", OTHER))
